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
	d.use.RLock()
	defer d.use.RUnlock()
	if d.closed.Load() {
		return 0, os.ErrClosed
	}
	for i := range b.Len() {
		switch err := d.write(b, i); {
		case err == nil:
		case errors.Is(err, unix.EBADFD):
			return refused, fmt.Errorf("%w: %s", ErrGone, d.Name())
		default:
			// A packet that this kernel does not take (EINVAL), or an interface that is down (EIO):
			// the packet is lost, as it would be on a wire.
			refused++
		}
	}
	return refused, nil
}

// write hands record i of b to the kernel, in the form that the device takes.
func (d *device) write(b *packet.Batch, i int) error {
	record := b.Record(i)
	if b.Framing() == packet.FramingIP {
		return d.writeIP(record)
	}
	if d.offload.Vnet && (d.offload.USO || !packet.ParseHeader(record).UDP()) {
		return d.writeParts(record)
	}
	var failed error
	packet.Segments(record, func(ip []byte) {
		if err := d.writeIP(ip); err != nil {
			failed = err
		}
	})
	return failed
}

// plain is the header of a complete packet: nothing to segment, nothing to fill in.
//
//nolint:gochecknoglobals // nobody writes it; made for each packet it would be garbage
var plain [packet.HeaderLen]byte

// writeIP hands one complete IP packet to the kernel.
func (d *device) writeIP(ip []byte) error {
	if !d.offload.Vnet {
		return d.writeParts(ip)
	}
	return d.writeParts(plain[:], ip)
}

// writeParts hands what lies in parts to the kernel as one packet. A TUN device always has room
// (tun_get_user waits for memory at most).
func (d *device) writeParts(parts ...[]byte) error {
	n, err := nonblock.Writev(uintptr(d.fd), parts)
	d.drainReader(n)
	return err
}
