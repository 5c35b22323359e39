package tun

import (
	"errors"
	"fmt"
	"os"

	"github.com/songgao/water"
	"golang.org/x/sys/unix"

	"tunnel/packet"
)

// Open makes a new TUN device of that name (newTun in the seed), with what offload the kernel has.
// The interface is down and without addresses. It never attaches to a device that exists.
//
// For an instant the device is persistent: a process that is killed just then leaves it behind,
// without a carrier, so that its journal's healing can tell it from a device that is in use.
//
// No other user can attach to the device, although /dev/net/tun is open to all: see config.
func Open(name string) (Device, error) {
	file, offload, err := Make(name)
	if err != nil {
		return nil, err
	}
	return Use(file, name, offload)
}

// Make is Open for another process: the device is its file, which the caller closes. Give it to
// Use, there or here.
func Make(name string) (*os.File, packet.Offload, error) {
	if err := Check(name); err != nil {
		return nil, packet.Offload{}, err
	}
	fd, offload, err := openOffload(name)
	if errors.Is(err, errNoOffload) {
		offload = packet.Offload{}
		fd, err = openPlain(name)
	}
	if err != nil {
		return nil, packet.Offload{}, err
	}
	return os.NewFile(uintptr(fd), "/dev/net/tun"), offload, nil
}

// Use returns the device that Make has made. It takes the file over, and closes it if there is an
// error.
func Use(file *os.File, name string, offload packet.Offload) (Device, error) {
	defer func() { _ = file.Close() }()
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	fd := -1
	failed := raw.Control(func(from uintptr) {
		fd,
			err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err := errors.Join(failed, err); err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	d, err := newDevice(name, fd, offload)
	if err != nil {
		return nil, err
	}
	return d, nil
}

// OpenPlain is Open without offload: packets of the device's MTU with complete checksums, as every
// kernel has them.
func OpenPlain(name string) (Device, error) {
	if err := Check(name); err != nil {
		return nil, err
	}
	fd, err := openPlain(name)
	if err != nil {
		return nil, err
	}
	d, err := newDevice(name, fd, packet.Offload{})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// config returns how water makes the device. The kernel lets any user attach a queue to a device
// that has no owner (tun_not_capable in drivers/net/tun.c), and TUNSETIFF comes before TUNSETOWNER.
// So the device has a single queue, which keeps all others out while a process has it, and the
// owner keeps others out while none has.
func config(name string, persist bool) water.Config {
	return water.Config{
		DeviceType: water.TUN,
		PlatformSpecificParams: water.PlatformSpecificParams{
			Name: name, Persist: persist,
			Permissions: &water.DevicePermissions{Owner: uint(os.Geteuid()),
				Group: uint(os.Getegid())},
		},
	}
}

func openPlain(name string) (fd int, err error) {
	iface, err := water.New(config(name, false))
	if err != nil {
		return 0, explain(err, name)
	}
	defer func() { _ = iface.Close() }()
	if fd, err = duplicate(iface); err != nil {
		return 0, fmt.Errorf("open %s: %w", name, err)
	}
	return fd, nil
}

// duplicate returns another descriptor of the device that water has opened: the runtime watches the
// first.
func duplicate(iface *water.Interface) (fd int, err error) {
	file, ok := iface.ReadWriteCloser.(*os.File)
	if !ok {
		return 0, fmt.Errorf("water gave %T, not a file", iface.ReadWriteCloser)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := raw.Control(func(water uintptr) {
		fd,
			err = unix.FcntlInt(water, unix.F_DUPFD_CLOEXEC, 0)
	})
	return fd, errors.Join(failed, err)
}

// errNoOffload says that this kernel has no virtio_net_hdr on TUN devices.
var errNoOffload = errors.New("no offload")

// openOffload makes the device with water, and takes it over with virtio_net_hdr: water cannot ask
// for that, and the kernel accepts the flag only from the process that attaches (tun_set_iff in
// drivers/net/tun.c).
func openOffload(name string) (int, packet.Offload, error) {
	iface, err := water.New(config(name, true))
	if err != nil {
		return 0, packet.Offload{}, explain(err, name)
	}
	_ = iface.Close()
	fd, offload, err := attach(name)
	if err != nil {
		return 0, packet.Offload{}, errors.Join(err, destroy(name))
	}
	return fd, offload, nil
}

// attach attaches to the persistent device that no process holds, and ends its persistence.
func attach(name string) (_ int, _ packet.Offload, err error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, packet.Offload{}, explain(err, name)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, packet.Offload{}, explain(err, name)
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return 0, packet.Offload{}, fmt.Errorf("%w: TUNSETIFF: %w", errNoOffload, err)
	}
	// On the wire the header is little-endian; on a big-endian machine the kernel has to be told.
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETLE, 1); err != nil {
		return 0, packet.Offload{}, fmt.Errorf("%w: TUNSETVNETLE: %w", errNoOffload, err)
	}
	offload := packet.Offload{Vnet: true, USO: true}
	const tso = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	if unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tso|unix.TUN_F_USO4|unix.TUN_F_USO6) != nil {
		offload.USO = false
		if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tso); err != nil {
			return 0, packet.Offload{}, fmt.Errorf("%w: TUNSETOFFLOAD: %w", errNoOffload, err)
		}
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 0); err != nil {
		return 0, packet.Offload{}, fmt.Errorf("open %s: TUNSETPERSIST: %w", name, err)
	}
	return fd, offload, nil
}

// destroy ends a persistent device that openOffload made and could not attach to.
func destroy(name string) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 0)
}
