package tun

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"tunnel/nonblock"
	"tunnel/packet"
)

func (d *device) WriteBatch(b *packet.Batch) (refused int, err error) {
	for i := range b.Len() {
		err := d.write(b, i)
		switch {
		case err == nil:
		case errors.Is(err, os.ErrClosed):
			return refused, os.ErrClosed
		case errors.Is(err, unix.EBADFD):
			return refused, fmt.Errorf("%w: %s", ErrGone, d.Name())
		default:
			// A packet that this kernel does not take (EINVAL), or an interface that is down (EIO): the packet is lost,
			// as it would be on a wire.
			refused++
		}
	}
	return refused, nil
}

// write hands record i of b to the kernel, in the form that the device takes.
func (d *device) write(b *packet.Batch, i int) error {
	if b.Framing() == packet.FramingIP {
		return d.writeIP(b.Record(i))
	}
	if d.offload.Vnet && (d.offload.USO || !packet.ParseHeader(b.Record(i)).UDP()) {
		return d.writeParts(b.Record(i))
	}
	var failed error
	packet.Segments(b.Record(i), func(ip []byte) {
		if err := d.writeIP(ip); err != nil {
			failed = err
		}
	})
	return failed
}

// writeIP hands one complete IP packet to the kernel.
func (d *device) writeIP(ip []byte) error {
	if !d.offload.Vnet {
		return d.writeParts(ip)
	}
	var header [packet.HeaderLen]byte // all zero: nothing to segment, nothing to fill in
	return d.writeParts(header[:], ip)
}

// writeParts hands what lies in parts to the kernel as one packet. A TUN device always has room (tun_get_user waits for
// memory at most).
func (d *device) writeParts(parts ...[]byte) (failed error) {
	err := d.raw.Control(func(fd uintptr) {
		var n int
		n, failed = nonblock.Writev(fd, parts)
		d.relieve(fd, n)
	})
	if err != nil {
		return os.ErrClosed // the one reason for it
	}
	return failed
}
