package wan

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// tap is one end of a link: an Ethernet device without offloads.
type tap struct {
	name string
	fd   int
}

// openTap makes a device in the namespace of the calling thread. The kernel chooses its name: wan0,
// wan1, …
func openTap() (tap, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return tap{}, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq("wan%d")
	if err == nil {
		req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		_ = unix.Close(fd)
		return tap{}, fmt.Errorf("make a TAP device: %w", err)
	}
	return tap{name: req.Name(), fd: fd}, nil
}

// close removes the device.
func (t tap) close() { _ = unix.Close(t.fd) }

// carrier sets whether the device has a carrier.
func (t tap) carrier(on bool) error {
	value := 0
	if on {
		value = 1
	}
	if err := unix.IoctlSetPointerInt(t.fd, unix.TUNSETCARRIER, value); err != nil {
		return fmt.Errorf("carrier of %s: %w", t.name, err)
	}
	return nil
}
