package privsep

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// firstFD is the first descriptor that is no standard one.
const firstFD = 3

// CloseOnExec keeps what the program was started with, beyond the standard descriptors, from the
// programs that it starts. It is for the start of the program; all that Go opens is so already.
func CloseOnExec() error {
	err := unix.CloseRange(firstFD, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	// A kernel before 5.11, or a container's filter.
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list the open files: %w", err)
	}
	for _, name := range names {
		if fd, err := strconv.Atoi(name.Name()); err == nil && fd >= firstFD {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
