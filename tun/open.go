package tun

import (
	"errors"
	"fmt"
	"os"

	"github.com/songgao/water"
	"golang.org/x/sys/unix"

	"tunnel/packet"
)

// Open makes a new TUN device of that name, with the offload that the kernel has. The interface is
// down and has no address. Open never attaches to an existing device.
//
// The device is persistent for a moment. If the process is killed then, the device stays, without a
// carrier: by that the next run tells it from a device in use, and removes it.
//
// No other user can attach to the device, although anyone may open /dev/net/tun: see config.
func Open(name string) (Device, error) {
	file, offload, err := Make(name)
	if err != nil {
		return nil, err
	}
	return Use(file, name, offload)
}

// Make is Open in two steps, of which another process can take the second: it returns the device's
// file, which the caller closes, for Use.
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

// Use returns the device that Make made. It takes ownership of the file, also if there is an error.
func Use(file *os.File, name string, offload packet.Offload) (Device, error) {
	defer func() { _ = file.Close() }()
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	fd := -1
	failed := raw.Control(func(from uintptr) {
		fd, err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0)
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

// OpenPlain is Open without offload, which every kernel can do: packets have at most the device's
// MTU, and complete checksums.
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

// config returns water's configuration. The kernel lets any user attach a queue to a device without
// an owner (tun_not_capable in drivers/net/tun.c), and TUNSETIFF comes before TUNSETOWNER. So the
// device has a single queue, which keeps others out while a process has it open, and an owner,
// which keeps other users out while none has.
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

// duplicate returns another descriptor of the device that water opened: the first is registered
// with the runtime's poller.
func duplicate(iface *water.Interface) (fd int, err error) {
	file, ok := iface.ReadWriteCloser.(*os.File)
	if !ok {
		return 0, fmt.Errorf("water gave %T, not a file", iface.ReadWriteCloser)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := raw.Control(func(from uintptr) {
		fd, err = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0)
	})
	return fd, errors.Join(failed, err)
}

// errNoOffload means that this kernel has no virtio_net_hdr on TUN devices.
var errNoOffload = errors.New("no offload")

// openOffload makes the device with water, and then attaches to it with virtio_net_hdr. Water
// cannot set that flag, and the kernel accepts it only at attaching (tun_set_iff in
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

// attach attaches to the persistent device, which no process has open, and ends its persistence.
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
	// The protocol's header is little-endian, which is not the default on a big-endian machine.
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

// destroy removes a persistent device that openOffload made but failed to attach to.
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
