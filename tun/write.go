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
			// EINVAL: this kernel does not take the packet. EIO: the interface is down. The packet
			// is lost, as it would be on a wire.
			refused++
		}
	}
	return refused, nil
}

// write writes record i of b in the form that the device takes.
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

// plain is the virtio_net_hdr of a packet without segments and with a complete checksum.
//
//nolint:gochecknoglobals // constant; a local array would be allocated for each packet
var plain [packet.HeaderLen]byte

// writeIP writes a complete IP packet.
func (d *device) writeIP(ip []byte) error {
	if !d.offload.Vnet {
		return d.writeParts(ip)
	}
	return d.writeParts(plain[:], ip)
}

// writeParts writes the parts as one packet. It does not wait for the reader of a queue:
// tun_get_user in drivers/net/tun.c waits for memory at most.
func (d *device) writeParts(parts ...[]byte) error {
	n, err := nonblock.Writev(uintptr(d.fd), parts)
	d.drainReader(n)
	return err
}
