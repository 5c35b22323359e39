// Package nonblock has the system calls of the packet path, for descriptors that do not block. The runtime is not told of
// them (RawSyscall). It would take a call of 20 µs, which one with a super-packet is, for a blocked thread and wake another
// for its work; and it would wake its monitor thread, for a millisecond, with the first call after each idle moment.
package nonblock

import (
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read reads into p, which must not be empty. The error is a unix.Errno, EAGAIN when nothing is there.
func Read(fd uintptr, p []byte) (int, error) {
	return call(unix.SYS_READ, fd, unsafe.Pointer(&p[0]), len(p))
}

// Write writes p, which must not be empty. The error is a unix.Errno, EAGAIN when there is no room.
func Write(fd uintptr, p []byte) (int, error) {
	return call(unix.SYS_WRITE, fd, unsafe.Pointer(&p[0]), len(p))
}

// maxParts is how many parts are written with one call; the kernel takes 1024 (UIO_MAXIOV).
const maxParts = 64

// Writev writes the first parts, none of which may be empty, and returns how many bytes that were. The error is a
// unix.Errno, EAGAIN when there is no room.
func Writev(fd uintptr, parts [][]byte) (int, error) {
	var vector [maxParts]unix.Iovec
	count := min(len(parts), maxParts)
	for i, p := range parts[:count] {
		vector[i].Base = &p[0]
		vector[i].SetLen(len(p))
	}
	return call(unix.SYS_WRITEV, fd, unsafe.Pointer(&vector[0]), count)
}

// The runtime is told of a call every tellAfter all the same: its monitor, which takes the processor from a goroutine that
// never blocks and looks after the network meanwhile, sleeps until it is. Without that one peer who sends without end starves
// all others. Told more often, the monitor never goes back to sleep for long, and wakes thousands of times a second.
const (
	tellAfter = 5 * time.Millisecond // half of what a goroutine may have in one piece
	lookAfter = 64                   // calls after which it is seen whether it is time
)

//nolint:gochecknoglobals // it is about the whole process
var (
	start = time.Now()
	calls atomic.Uint32
	told  atomic.Int64 // when, nanoseconds since start
)

// due tells whether the runtime has to be told of the next call.
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

// Poll tells whether one of events (unix.POLLIN and so on), or a failure, is there on fd.
func Poll(fd uintptr, events int16) (bool, error) {
	p := [1]unix.PollFd{{Fd: int32(fd), Events: events}}
	var now unix.Timespec
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p[0])), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
		switch errno {
		case 0:
			return n > 0, nil
		case unix.EINTR:
			continue
		}
		return false, errno
	}
}

// Pause stops this thread for so long, less than a second, or a little less when a signal comes. The runtime sleeps a millisecond
// at least where nothing else is to do (netpoll's timeout).
func Pause(d time.Duration) {
	t := unix.NsecToTimespec(d.Nanoseconds())
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
}
