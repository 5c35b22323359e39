// Package sysctl switches kernel parameters of single interfaces on, and off again.
package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"tunnel/rtnl"
)

// Name is a parameter that an interface has, and that this program may switch on.
type Name string

// The parameters (Documentation/networking/ip-sysctl.rst of the kernel).
const (
	// Forwarding forwards IPv4 packets that come in by the interface.
	Forwarding Name = "ipv4/forwarding"
	// Forwarding6 does so for IPv6, from Linux 6.17 on. It is not net.ipv6.conf.IF.forwarding, which
	// makes the interface a router's, so that it forgets its default route, and forwards nothing.
	Forwarding6 Name = "ipv6/force_forwarding"
	// SrcValidMark has the check of source addresses (rp_filter) go by the packet's mark.
	SrcValidMark Name = "ipv4/src_valid_mark"
)

// Setting is a parameter of an interface that shall be on.
type Setting struct {
	Name Name   `json:"name"`
	Dev  string `json:"dev"`
}

// ErrSetting means that this program may not make the Setting.
var ErrSetting = errors.New("not a parameter of an interface")

// Check returns an ErrSetting unless s is a parameter of this package of a single interface.
func (s Setting) Check() error {
	switch s.Name {
	case Forwarding, Forwarding6, SrcValidMark:
	default:
		return fmt.Errorf("%w: %.40q", ErrSetting, s.Name)
	}
	if err := rtnl.CheckName(s.Dev); err != nil {
		return fmt.Errorf("%w: %w", ErrSetting, err)
	}
	if s.Dev == all || s.Dev == "default" {
		return fmt.Errorf("%w: %q stands for several interfaces", ErrSetting, s.Dev)
	}
	return nil
}

// all is the kernel's name for all interfaces together.
const all = "all"

// String returns the name of the parameter as sysctl(8) takes it: a dot of the interface's name is
// a slash.
func (s Setting) String() string {
	family, leaf, _ := strings.Cut(string(s.Name), "/")
	return "net." + family + ".conf." + strings.ReplaceAll(s.Dev, ".", "/") + "." + leaf
}

// path returns the file of the parameter.
func (s Setting) path() string {
	family, leaf, _ := strings.Cut(string(s.Name), "/")
	return "/proc/sys/net/" + family + "/conf/" + s.Dev + "/" + leaf
}

// global returns the parameter for all interfaces. Of IPv6 there is none for one interface and all.
func (s Setting) global() Setting {
	if s.Name == Forwarding6 {
		return Setting{Name: "ipv6/forwarding", Dev: all}
	}
	return Setting{Name: s.Name, Dev: all}
}

// read reports whether the parameter itself is on.
func (s Setting) read() (bool, error) {
	text, err := os.ReadFile(s.path())
	if err != nil {
		return false, &Error{Setting: s, Err: err}
	}
	return strings.TrimSpace(string(text)) != "0", nil
}

// state reports whether the kernel acts as if the parameter were on, and whether that for all
// interfaces is. With the latter the kernel goes by the interface's own for IPv4 forwarding, which
// the administrator may have left out, and by either of the two for the others (IN_DEV_FORWARD and
// IN_DEV_ORCONF in include/linux/inetdevice.h, ip6_forward in net/ipv6/ip6_output.c).
func (s Setting) state() (on, global bool, err error) {
	global, err = s.global().read()
	if err != nil {
		return false, false, err
	}
	if global && s.Name != Forwarding {
		return true, true, nil
	}
	on, err = s.read()
	return on, global, err
}

// write switches the parameter on or off.
func (s Setting) write(on bool) error {
	value := "0"
	if on {
		value = "1"
	}
	file, err := os.OpenFile(s.path(), os.O_WRONLY, 0)
	if err == nil {
		_, err = file.WriteString(value)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		return &Error{Setting: s, Err: err}
	}
	return nil
}

// Error means that a parameter cannot be read or set. Its text is one line.
type Error struct {
	Setting Setting
	Err     error
}

func (e *Error) Error() string {
	switch {
	case errors.Is(e.Err, unix.EROFS):
		return fmt.Sprintf("%s cannot be set: /proc/sys is read-only here, as in a container", e.Setting)
	case errors.Is(e.Err, fs.ErrNotExist) && e.Setting.Name == Forwarding6:
		return fmt.Sprintf("%s does not exist: Linux before 6.17 forwards IPv6 for all interfaces or "+
			"none, and there may be no interface %s", e.Setting, e.Setting.Dev)
	case errors.Is(e.Err, fs.ErrNotExist):
		return fmt.Sprintf("%s does not exist: there is no interface %s, or no /proc", e.Setting,
			e.Setting.Dev)
	}
	return fmt.Sprintf("%s: %v", e.Setting, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Advice returns what to do; "" if there is nothing more to say.
func (e *Error) Advice() string {
	if !errors.Is(e.Err, unix.EROFS) {
		return ""
	}
	key := "net.ipv4.ip_forward"
	switch e.Setting.Name {
	case Forwarding6:
		key = "net.ipv6.conf.all.forwarding"
	case SrcValidMark:
		key = "net.ipv4.conf.all.src_valid_mark"
	}
	return "set it when the container is made, in Docker with --sysctl " + key + "=1"
}
