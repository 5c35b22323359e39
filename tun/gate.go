package tun

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// gate is where the reader waits for the device: an epoll instance that watches the device and is
// itself watched by the runtime's poller (epoll(7) has them nested). It can be shut while the
// reader knows that more is coming. Else each packet that the kernel puts into the device meanwhile
// would wake a thread that has nothing to do, at the cost of whoever sends it.
type gate struct {
	file   *os.File // the epoll instance
	raw    syscall.RawConn
	epoll  int // its descriptor
	device int // the device's
	shut   bool
}

// newGate opens a gate on the device's descriptor, which must stay open for longer. The caller
// closes the gate's file.
func newGate(device int) (*gate, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if err := errors.Join(
		unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, device, &unix.EpollEvent{Events: awake}),
		// what os.NewFile wants of a file that it lets the runtime watch
		unix.SetNonblock(epoll, true),
	); err != nil {
		_ = unix.Close(epoll)
		return nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	file := os.NewFile(uintptr(epoll), "epoll")
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &gate{file: file, raw: raw, epoll: epoll, device: device}, nil
}

// What wakes the reader: while the gate is open each packet, for the runtime does not ask for more
// than changes; while it is shut failures only, which the kernel always adds.
const (
	awake  = unix.EPOLLIN | unix.EPOLLET
	asleep = unix.EPOLLET
)

// close shuts the gate.
func (g *gate) close() { g.set(true, asleep) }

// open opens the gate, at once for what waits already.
func (g *gate) open() { g.set(false, awake) }

func (g *gate) set(shut bool, events uint32) {
	if g.shut != shut {
		g.shut = shut
		// fails for what was never added only
		_ = unix.EpollCtl(g.epoll, unix.EPOLL_CTL_MOD, g.device, &unix.EpollEvent{Events: events})
	}
}
