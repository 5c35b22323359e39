package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownNice is the nice value of a running tunnel. A kernel forwards packets before any program runs;
// a tunnel is one program among others, and loses packets that arrive while it waits for a
// processor once the device's queue of 100 is full. A lower value would take processor time from
// the programs whose packets it carries: docs/PERFORMANCE.md has the figures.
const ownNice = -5

// zeroNice is a nice value of 0 as the system call getpriority returns it: 20 minus the nice value.
const zeroNice = 20

// TakePriority sets ownNice for all present and future threads. A nice value other than 0 at the
// start is left alone. Without CAP_SYS_NICE or RLIMIT_NICE nothing changes.
func TakePriority(log *slog.Logger) {
	if err := renice(); err != nil {
		log.Debug("packets have no priority over other programs", "err", err)
	}
}

func renice() error {
	now, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil || now != zeroNice {
		return err
	}
	nice := ownNice
	// On Linux setpriority(2) changes one thread. A build with cgo may have threads that the
	// runtime does not know, and gets ENOTSUP.
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0,
		uintptr(nice)); errno != 0 {
		return fmt.Errorf("set the nice value to %d: %w", ownNice, errno)
	}
	return nil
}

// spreadPriority gives this process's nice value to its session, which must have no other
// processes. With kernel.sched_autogroup_enabled the scheduler compares nice values within a
// session only (sched(7)), and the session has a value of its own.
func spreadPriority() error {
	now, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return err
	}
	f, err := os.OpenFile("/proc/self/autogroup", os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without such groups
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.Itoa(zeroNice - now))
	return errors.Join(err, f.Close())
}
