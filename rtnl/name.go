package rtnl

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// CheckName returns why the kernel does not take name for an interface, nil if it does
// (dev_valid_name in net/core/dev.c). A name that passes is also a file's name.
func CheckName(name string) error {
	const space = "\t\n\v\f\r \xa0" // as the kernel's isspace has it (lib/ctype.c)
	isRefused := func(b byte) bool { return strings.IndexByte("/:"+space, b) >= 0 }
	valid := name != "" && len(name) < unix.IFNAMSIZ && name != "." && name != ".."
	for i := range len(name) {
		valid = valid && !isRefused(name[i])
	}
	if !valid {
		return fmt.Errorf("%q is not a device name (1 to %d bytes, no space, slash or colon)", name,
			unix.IFNAMSIZ-1)
	}
	return nil
}
