package tun

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"tunnel/nonblock"
	"tunnel/packet"
)

func (d *device) ReadBatch(b *packet.Batch) error {
	d.batch, d.failed = b, nil
	err := d.raw.Read(d.read)
	b.Seal()
	d.batch = nil
	if err == nil {
		err = d.failed
	}
	switch {
	case err == nil:
		return nil
	case d.closed.Load(): // a RawConn's own error for it is not exported
		return os.ErrClosed
	}
	// The error itself is EBADFD (drivers/net/tun.c: tun_get returned nothing) or the runtime's, whoever looked first.
	if _, missing := net.InterfaceByName(d.Name()); missing != nil {
		return fmt.Errorf("%w: %s", ErrGone, d.Name())
	}
	return fmt.Errorf("read %s: %w", d.Name(), err)
}

// readAll reads until nothing waits or the batch is full; false is to be called again when something does.
func (d *device) readAll(fd uintptr) (done bool) {
	b := d.batch
	room := 0 // where the packet goes: behind the header that this device does not give
	if !d.offload.Vnet {
		room = packet.HeaderLen
	}
	for b.Size() <= packet.MaxBatch-packet.HeaderLen-packet.MaxPacket {
		if d.scratch == nil {
			d.scratch = packet.NewPacket(packet.HeaderLen + packet.MaxPacket)
			clear(d.scratch.Record()[:packet.HeaderLen])
		}
		n, err := nonblock.Read(fd, d.scratch.Record()[room:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return b.Len() > 0
		case err != nil:
			d.failed = err
			return true
		}
		d.add(b, n+room)
	}
	return true
}

// add adds the first n bytes of the scratch packet to b.
func (d *device) add(b *packet.Batch, n int) {
	record := d.scratch.Record()[:n]
	// What the kernel sends into a TUN device is an IP packet; the exception (a raw socket's garbage) is nothing that a
	// peer could take.
	if n < packet.HeaderLen {
		return
	}
	if length, err := packet.Length(record[packet.HeaderLen:]); err != nil || length != n-packet.HeaderLen {
		return
	}
	switch {
	case n > packet.SmallRoom: // worth keeping where it was read; the others are copied, or joined to the one before
		d.scratch.Truncate(n)
		b.Add(d.scratch)
		d.scratch = nil
	case !b.Join(record, d.offload.USO):
		p := packet.NewPacket(n)
		copy(p.Record(), record)
		b.Add(p)
	}
}
