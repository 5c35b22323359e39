// Package nonblock has the system calls of the packet path, for descriptors that do not block. They
// do not inform the Go scheduler (RawSyscall), which would treat a call of 20 µs, typical for a
// super-packet, as a blocked thread and wake another for its work. It would also wake its monitor
// thread, for a millisecond, with the first call after each idle moment.
package nonblock

import (
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read reads into p, which must not be empty. The error is a unix.Errno, EAGAIN when there is no
// data.
func Read(fd uintptr, p []byte) (int, error) {
	return call(unix.SYS_READ, fd, unsafe.Pointer(&p[0]), len(p))
}

// Write writes p, which must not be empty. The error is a unix.Errno, EAGAIN when there is no room.
func Write(fd uintptr, p []byte) (int, error) {
	return call(unix.SYS_WRITE, fd, unsafe.Pointer(&p[0]), len(p))
}

// maxParts bounds the parts of one call; the kernel accepts 1024 (UIO_MAXIOV).
const maxParts = 64

// Writev writes the first parts, none of which may be empty, and returns the number of bytes. The
// error is a unix.Errno, EAGAIN when there is no room.
func Writev(fd uintptr, parts [][]byte) (int, error) {
	var vector [maxParts]unix.Iovec
	count := min(len(parts), maxParts)
	for i, p := range parts[:count] {
		vector[i].Base = &p[0]
		vector[i].SetLen(len(p))
	}
	return call(unix.SYS_WRITEV, fd, unsafe.Pointer(&vector[0]), count)
}

// The scheduler is informed of a call every tellAfter all the same, to wake its monitor, which
// preempts a goroutine that never blocks and polls the network. Without it one peer that sends
// endlessly starves all others. Informed more often, the monitor wakes thousands of times a second.
const (
	tellAfter = 5 * time.Millisecond // half of a goroutine's time slice
	lookAfter = 64                   // calls between two readings of the clock
)

//nolint:gochecknoglobals // the state of the whole process
var (
	start = time.Now()
	calls atomic.Uint32
	told  atomic.Int64 // when, nanoseconds since start
)

// due reports whether the scheduler must be informed of the next call.
func due() bool {
	if calls.Add(1)%lookAfter != 0 {
		return false
	}
	now := int64(time.Since(start))
	if now-told.Load() < int64(tellAfter) {
		return false
	}
	told.Store(now)
	return true
}

func call(trap, fd uintptr, p unsafe.Pointer, n int) (int, error) {
	syscall := unix.RawSyscall
	if due() {
		syscall = unix.Syscall
	}
	for {
		done, _, errno := syscall(trap, fd, uintptr(p), uintptr(n))
		switch errno {
		case 0:
			return int(done), nil
		case unix.EINTR:
			continue
		}
		return 0, errno
	}
}

// Poll reports whether fd has one of events (unix.POLLIN and so on), or an error.
func Poll(fd uintptr, events int16) (bool, error) {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	var now unix.Timespec
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p[0])), 1,
			uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		switch errno {
		case 0:
			return n > 0, nil
		case unix.EINTR:
			continue
		}
		return false, errno
	}
}

// Pause stops this thread for d, which must be less than a second, or less if a signal arrives. The
// runtime itself would sleep a millisecond at least when idle (netpoll's timeout).
func Pause(d time.Duration) {
	t := unix.NsecToTimespec(d.Nanoseconds())
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
}
