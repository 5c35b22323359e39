package audit

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Actor is who does something on this machine. The zero Actor is the hub itself.
type Actor struct {
	UID   *uint32 // nil is not known
	Login *uint32 // the user who has logged in, also behind sudo; nil if the kernel does not know
}

// Self returns the Actor of this process. It is called before the process becomes another user.
func Self() Actor {
	uid := uint32(os.Getuid())
	a := Actor{UID: &uid}
	text, err := os.ReadFile("/proc/self/loginuid") // pam_loginuid(8); a kernel may not have it
	if login, failed := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32); err == nil &&
		failed == nil && login != unset {
		id := uint32(login)
		a.Login = &id
	}
	return a
}

// unset is what the kernel says of a process that nobody has logged in for.
const unset = 1<<32 - 1

// String returns a so that ParseActor takes it: "UID LOGIN", with - for what is not known.
func (a Actor) String() string {
	text := func(id *uint32) string {
		if id == nil {
			return "-"
		}
		return strconv.FormatUint(uint64(*id), 10)
	}
	return text(a.UID) + " " + text(a.Login)
}

// ParseActor is the inverse of Actor.String.
func ParseActor(text string) (a Actor, err error) {
	ids := strings.Split(text, " ")
	if len(ids) != 2 {
		return Actor{}, fmt.Errorf("%.20q is no actor", text)
	}
	for i, to := range []**uint32{&a.UID, &a.Login} {
		if ids[i] == "-" {
			continue
		}
		n, err := strconv.ParseUint(ids[i], 10, 32)
		if err != nil {
			return Actor{}, fmt.Errorf("%.20q is no actor", text)
		}
		id := uint32(n)
		*to = &id
	}
	return a, nil
}

// By returns e as done by a.
func (e Entry) By(a Actor) Entry {
	e.UID, e.Login = a.UID, a.Login
	return e
}
