package failure

import (
	"errors"

	"golang.org/x/sys/unix"
)

// resource returns what to do about an exhausted resource of this machine or process, "" for other
// errors.
func resource(err error) string {
	switch {
	case errors.Is(err, unix.EMFILE):
		return "raise the limit of open files: `ulimit -n 1024`, or LimitNOFILE= of its unit"
	case errors.Is(err, unix.ENFILE):
		return "raise the machine's limit of open files: `sysctl fs.file-max`"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return "make room on its disk"
	}
	return ""
}
