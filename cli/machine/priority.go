package cli

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

// ownNice is the nice value of a running tunnel. The kernel forwards packets before any program gets a processor; a tunnel
// forwards them as one program among others, and what arrives while it waits for its turn is lost when the device's queue of
// 100 is full. With more than this it would take the processor from the very programs whose packets it carries:
// docs/PERFORMANCE.md has the figures.
const ownNice = -5

// zeroNice is a nice value of 0 as getpriority(2) returns it, which is 20 less the nice value: no answer is negative.
const zeroNice = 20

// takePriority gives all threads, and those to come, ownNice. Whoever has started the program with a nice value other than
// 0 has decided, and it stays. Without the right to it, which is CAP_SYS_NICE or RLIMIT_NICE, all goes on as it is.
func takePriority(log *slog.Logger) {
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
	// setpriority(2) is about one thread on Linux. A build with cgo may have threads that the runtime does not know of, and
	// gets ENOTSUP.
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, uintptr(nice)); errno != 0 {
		return fmt.Errorf("set the nice value to %d: %w", ownNice, errno)
	}
	return nil
}

// spreadPriority gives the session of this process, which must have nobody else's processes, its nice value. With
// kernel.sched_autogroup_enabled the scheduler weighs sessions against each other, and nice values within one only
// (sched(7)): those of a session of its own would count for nothing.
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

// dropPriority gives a group of processes the nice value 0 when this program's is less.
func dropPriority(group int) error {
	now, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil || now <= zeroNice {
		return err
	}
	return unix.Setpriority(unix.PRIO_PGRP, group, 0)
}
