// Package tun reads and writes IP packets on a TUN device in batches, with super-packets (TSO, USO)
// if the kernel has them. It hides songgao/water and /dev/net/tun
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

// Device is a TUN device, whose addresses, MTU and routes package host sets. One goroutine may read
// while several write. The caller of Open closes it. Close ends ReadBatches; when it returns, the
// interface is gone, with its addresses and routes.
type Device interface {
	// Name returns the interface's name, 1 to 15 bytes.
	Name() string
	// Offload returns which super-packets the kernel reads and writes on this device.
	Offload() packet.Offload
	// ReadBatches calls give with the packets that the kernel sends into the device, in order: all
	// that wait, up to packet.MaxBatch at once. give is called on this goroutine, or by WriteBatch
	// on another to keep the device's queue from filling with answers, but never concurrently. The
	// batch is valid until give returns; give may Take records. The error is never nil, and
	// os.ErrClosed after Close. If give or the read panics, it is a *defect.Error, the rest of the
	// batch is lost, and ReadBatches may be called again.
	ReadBatches(give func(*packet.Batch)) error
	// WriteBatch writes every record of b to the kernel, as a received packet. It returns how many
	// the kernel refused. The error is nil unless the device is unusable: os.ErrClosed or ErrGone.
	WriteBatch(b *packet.Batch) (refused int, err error)
	Close() error
}

// Errors that Open returns wrapped.
var (
	// ErrName: see CheckName.
	ErrName = errors.New("not a device name")
	// ErrTaken is for a device of any kind.
	ErrTaken = errors.New("a device of this name exists already")
	// ErrNoTun means that the module is not loaded, or the node not passed into the container.
	ErrNoTun      = errors.New("no TUN driver: /dev/net/tun is missing")
	ErrPermission = errors.New("not permitted: CAP_NET_ADMIN is needed")
)

// ErrGone is returned by ReadBatches and WriteBatch when another program deleted the interface.
var ErrGone = errors.New("the device is gone")

// CheckName returns an error, ErrName wrapped, if Open cannot make a device of that name. Besides
// the kernel's own rules, the kernel expands % as a pattern, and ip takes a leading - for a flag.
func CheckName(name string) error {
	if rtnl.CheckName(name) != nil || name[0] == '-' || strings.Contains(name, "%") {
		return fmt.Errorf("%w: %q (1 to %d bytes, no space, none of / : %%, no - in front)",
			ErrName, name, unix.IFNAMSIZ-1)
	}
	return nil
}

// Check returns the error with which Open would fail, as far as it can know that without making a
// device.
func Check(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return explain(err, name)
	}
	switch has, err := NetAdmin(); {
	case err != nil:
		return err
	case !has:
		return ErrPermission
	}
	// The kernel would attach to another program's persistent TUN device that no process has open.
	if _, err := net.InterfaceByName(name); err == nil {
		return fmt.Errorf("%w: %s", ErrTaken, name)
	}
	return nil
}

// NetAdmin reports whether this process has CAP_NET_ADMIN.
func NetAdmin() (bool, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false, fmt.Errorf("read this process's capabilities: %w", err)
	}
	return data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0, nil
}

// device is the Device of an open /dev/net/tun.
type device struct {
	name    string
	fd      int
	wake    *wakeGate
	offload packet.Offload
	// read-locked by writers, locked to close fd; closing wake.file waits for the reader
	use    sync.RWMutex
	closed atomic.Bool

	drain   func(fd uintptr) bool // drainAll; made once, because a method value allocates
	written atomic.Int32          // packets since the last read

	mu      sync.Mutex          // guards the rest; held to read and during give
	give    func(*packet.Batch) // of ReadBatches; nil while that does not run
	scratch *packet.Packet
	batch   packet.Batch
	joined  int // packets of batch that were joined to the one before
	failed  error
}

// newDevice takes ownership of fd, and closes it if there is an error.
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

// explain wraps the errors of opening a device in those of this package.
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
		return err // already closed
	}
	d.use.Lock()
	defer d.use.Unlock()
	return unix.Close(d.fd)
}
