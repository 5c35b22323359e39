package tun

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// wakeGate is what the reader waits on: an epoll instance that watches the device and is itself
// watched by the runtime's poller (epoll(7) allows nesting). It is closed while the reader knows
// that more packets are coming. Otherwise each packet that the kernel puts into the device would
// wake a thread that has nothing to do, at the cost of its sender.
type wakeGate struct {
	file   *os.File // the epoll instance
	raw    syscall.RawConn
	epoll  int // its descriptor
	device int // the device's
	shut   bool
}

// newWakeGate opens a gate on the device's descriptor, which must stay open for longer. The caller
// closes the gate's file.
func newWakeGate(device int) (*wakeGate, error) {
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
	return &wakeGate{file: file, raw: raw, epoll: epoll, device: device}, nil
}

// Events that wake the reader: each packet while the gate is open, because the runtime asks for
// edges only; failures, which the kernel always reports, while it is closed.
const (
	awake  = unix.EPOLLIN | unix.EPOLLET
	asleep = unix.EPOLLET
)

// close stops wake-ups by packets.
func (g *wakeGate) close() { g.set(true, asleep) }

// open allows wake-ups by packets, and wakes the reader for those that wait already.
func (g *wakeGate) open() { g.set(false, awake) }

func (g *wakeGate) set(shut bool, events uint32) {
	if g.shut != shut {
		g.shut = shut
		// fails for what was never added only
		_ = unix.EpollCtl(g.epoll, unix.EPOLL_CTL_MOD, g.device, &unix.EpollEvent{Events: events})
	}
}
