package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// User is who the worker becomes.
type User struct {
	Name     string // for people
	UID, GID int
}

// The user of a worker when none is named: the first of these that exists, else the number that all
// Linux systems give to nobody, as in an image without /etc/passwd.
const (
	ownUser    = "tunnel"
	otherUser  = "nobody"
	nobodysUID = 65534
)

// FindUser returns the user of that name, or with that number; "" is the default.
func FindUser(name string) (User, error) {
	if name == "" {
		for _, n := range []string{ownUser, otherUser} {
			if u, err := find(n); err == nil && u.UID != 0 && u.GID != 0 {
				return u, nil
			}
		}
		return User{Name: strconv.Itoa(nobodysUID), UID: nobodysUID, GID: nobodysUID}, nil
	}
	u, err := find(name)
	if err != nil {
		return User{}, err
	}
	if u.UID == 0 || u.GID == 0 {
		return User{}, fmt.Errorf("%s is root, or in its group", name)
	}
	return u, nil
}

// FormerUID returns the number of the user that FindUser("") returned before there was one of the
// program's own, 0 if u is not that one.
func FormerUID(u User) int {
	if u.Name != ownUser {
		return 0
	}
	if other, err := find(otherUser); err == nil {
		return other.UID
	}
	return nobodysUID
}

func find(name string) (User, error) {
	found, err := user.Lookup(name)
	if err != nil {
		// A number that no name has is its own group.
		if n, e := strconv.ParseUint(name, 10, 31); e == nil {
			if found, err = user.LookupId(name); err != nil {
				return User{Name: name, UID: int(n), GID: int(n)}, nil //nolint:nilerr // there is no such name, and need not be
			}
		}
	}
	if err != nil {
		return User{}, fmt.Errorf("there is no user %s", name)
	}
	uid, err1 := strconv.Atoi(found.Uid)
	gid, err2 := strconv.Atoi(found.Gid)
	return User{Name: found.Username, UID: uid, GID: gid}, errors.Join(err1, err2)
}

// lacks returns the names of the capabilities that a set is without of those that splitting takes:
// to become another user with less, and to let it have the network. Docker gives a container all
// but the last. CAP_CHOWN is not one of them: the state directory may be that user's already.
func lacks(set uint32) (names []string) {
	for _, c := range []struct {
		name string
		bit  int
	}{
		{"CAP_SETUID", unix.CAP_SETUID}, {"CAP_SETGID", unix.CAP_SETGID},
		{"CAP_SETPCAP", unix.CAP_SETPCAP}, {"CAP_NET_ADMIN", unix.CAP_NET_ADMIN},
	} {
		if set&(1<<c.bit) == 0 {
			names = append(names, c.name)
		}
	}
	return names
}

// CanSplit returns why this process cannot give its worker another user; nil if it can.
func CanSplit(u User) error {
	if os.Geteuid() != 0 {
		return errors.New("not started as root")
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("read this process's capabilities: %w", err)
	}
	if lacking := lacks(sets[0].Effective); len(lacking) > 0 {
		return fmt.Errorf("root without %s", strings.Join(lacking, ", "))
	}
	for file, id := range map[string]int{"uid_map": u.UID, "gid_map": u.GID} {
		if !mapped("/proc/self/"+file, id) {
			return fmt.Errorf("this user namespace has no user %s (%s)", u.Name, file)
		}
	}
	if text, err := os.ReadFile("/proc/self/setgroups"); err == nil &&
		strings.TrimSpace(string(text)) == "deny" {
		return errors.New("this user namespace forbids setgroups")
	}
	return nil
}

// mapped reports whether a map of user_namespaces(7) has the number inside.
func mapped(file string, id int) bool {
	text, err := os.ReadFile(file)
	if err != nil {
		return true // a kernel without user namespaces
	}
	for line := range strings.Lines(string(text)) {
		var first, outside, length int64
		if n, _ := fmt.Sscan(line, &first, &outside, &length); n == 3 && int64(id) >= first &&
			int64(id) < first+length {
			return true
		}
	}
	return false
}
