// Package tun is the virtual interface: batches of IP packets in, batches out, super-packets where
// the kernel has them. It hides songgao/water and the kernel's /dev/net/tun
// (Documentation/networking/tuntap.rst).
package tun

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"tunnel/packet"
	"tunnel/rtnl"
)

// Device is a TUN device that another part of the program configures. One goroutine may read while
// others write; writes may come from several goroutines. The caller that opened it closes it; Close
// ends ReadBatches, and the interface, its addresses and its routes are gone when Close returns.
type Device interface {
	// Name returns the interface's name, 1 to 15 bytes.
	Name() string
	// Offload returns what the kernel gives and takes on this device.
	Offload() packet.Offload
	// ReadBatches gives out what the kernel sends into the device, in order: as much at once as
	// waits, up to packet.MaxBatch. give is called on this goroutine, or by WriteBatch on another
	// while answers wait that the kernel has no more room for, but never twice at a time; the batch
	// is good until it returns, and give may Take records. The error is never nil, and os.ErrClosed
	// after Close. If give panics, or the reading itself, it is a *defect.Error, the rest of that
	// batch is lost, and ReadBatches may be called again.
	ReadBatches(give func(*packet.Batch)) error
	// WriteBatch hands every record of b to the kernel as a received packet. It returns how many
	// the kernel refused, and an error only when the device is unusable.
	WriteBatch(b *packet.Batch) (refused int, err error)
	Close() error
}

// Errors that Open returns wrapped, for callers who tell a person what to do.
var (
	// empty, over 15 bytes, or with bytes that no device may have
	ErrName  = errors.New("not a device name")
	ErrTaken = errors.New("a device of this name exists already") // TUN or not
	// module not loaded, or not passed into the container
	ErrNoTun = errors.New("no TUN driver: /dev/net/tun is missing")
	// the caller lacks the capability
	ErrPermission = errors.New("not permitted: CAP_NET_ADMIN is needed")
)

// ErrGone is returned by ReadBatches and WriteBatch when another program deleted the interface.
var ErrGone = errors.New("the device is gone")

// CheckName returns why name cannot be that of a device that Open makes, nil if it can: the kernel
// takes % for a pattern, and ip takes - in front for a flag.
func CheckName(name string) error {
	if rtnl.CheckName(name) != nil || name[0] == '-' || strings.Contains(name, "%") {
		return fmt.Errorf("%w: %q (1 to %d bytes, no space, none of / : %%, no - in front)",
			ErrName, name, unix.IFNAMSIZ-1)
	}
	return nil
}

// Check tells, without changing anything, whether Open could make a device of that name: the error
// is the one that Open would give.
func Check(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return explain(err, name)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read this process's capabilities: %w", err)
	}
	if data[0].Effective&(1<<unix.CAP_NET_ADMIN) == 0 {
		return ErrPermission
	}
	// The kernel would attach to a persistent TUN device that no process holds: another program's,
	// not ours.
	if _, err := net.InterfaceByName(name); err == nil {
		return fmt.Errorf("%w: %s", ErrTaken, name)
	}
	return nil
}

// device is a Device on a file that the kernel made an interface of.
type device struct {
	name    string
	fd      int
	wake    *wakeGate
	offload packet.Offload
	// held to write, and alone to close; the reader is at the wakeGate, whose file waits for it
	use    sync.RWMutex
	closed atomic.Bool

	drain   func(fd uintptr) bool // drainAll; a closure made anew for each call would be garbage
	written atomic.Int32          // packets since somebody has last read

	mu      sync.Mutex          // held to read and to give
	give    func(*packet.Batch) // of ReadBatches; nil while it does not run
	scratch *packet.Packet
	batch   packet.Batch
	joined  int // packets of batch that were joined to the one before
	failed  error
}

// newDevice takes the descriptor over, and closes it if there is an error.
func newDevice(name string, fd int, offload packet.Offload) (*device, error) {
	wake, err := newWakeGate(fd)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	d := &device{name: name, fd: fd, wake: wake, offload: offload}
	d.drain = d.drainAll
	return d, nil
}

func explain(err error, name string) error {
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%w: %w", ErrNoTun, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: %w", ErrPermission, err)
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: %s", ErrTaken, name)
	}
	return fmt.Errorf("open %s: %w", name, err)
}

func (d *device) Name() string { return d.name }

func (d *device) Offload() packet.Offload { return d.offload }

func (d *device) Close() error {
	d.closed.Store(true)
	if err := d.wake.file.Close(); err != nil {
		return err // it was closed before
	}
	d.use.Lock()
	defer d.use.Unlock()
	return unix.Close(d.fd)
}
