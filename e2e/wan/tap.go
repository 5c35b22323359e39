package wan

import (
	"fmt"

	"golang.org/x/sys/unix"

	"tunnel/packet"
)

// tap is one end of a link: an Ethernet device.
type tap struct {
	name string
	fd   int
	// The kernel sends and takes super-frames and partial checksums, with a virtio_net_hdr before
	// each frame.
	offloads bool
}

// openTap makes a device in the namespace of the calling thread. The kernel chooses its name: wan0,
// wan1, …
func openTap(offloads bool) (tap, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return tap{}, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	t := tap{fd: fd, offloads: offloads}
	if err := t.attach(); err != nil {
		t.close()
		return tap{}, fmt.Errorf("make a TAP device: %w", err)
	}
	return t, nil
}

// attach makes the device of the file.
func (t *tap) attach() error {
	req, err := unix.NewIfreq("wan%d")
	if err != nil {
		return err
	}
	flags := uint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if t.offloads {
		flags |= unix.IFF_VNET_HDR
	}
	req.SetUint16(flags)
	if err := unix.IoctlIfreq(t.fd, unix.TUNSETIFF, req); err != nil {
		return err
	}
	t.name = req.Name()
	if !t.offloads {
		return nil
	}
	// Package packet reads the header as little-endian.
	if err := unix.IoctlSetPointerInt(t.fd, unix.TUNSETVNETLE, 1); err != nil {
		return err
	}
	const tso = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	if unix.IoctlSetInt(t.fd, unix.TUNSETOFFLOAD, tso|unix.TUN_F_USO4|unix.TUN_F_USO6) == nil {
		return nil
	}
	return unix.IoctlSetInt(t.fd, unix.TUNSETOFFLOAD, tso) // before Linux 6.2
}

// shape returns the shape of a frame that was read from the device.
func (t tap) shape(record []byte) shape {
	if t.offloads {
		return superShape(record)
	}
	return plainShape(record)
}

// room returns the most bytes that a read of the device returns: without offloads, a frame of 1,514
// bytes, with a VLAN tag 1,518.
func (t tap) room() int {
	if t.offloads {
		return packet.HeaderLen + packet.MaxPacket
	}
	return packet.SmallRoom
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
