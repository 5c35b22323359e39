package tun

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"tunnel/packet"
)

// room is the free buffer, in bytes, that a read must find: the largest packet that the device can give.
const room = packet.MaxPacket

func (d *device) ReadBatch(b *packet.Batch) error {
	var failed error
	err := d.raw.Read(func(fd uintptr) (done bool) {
		before := b.Len()
		for b.Size() <= packet.MaxBatch-room {
			n, err := unix.Read(int(fd), b.Room(room))
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case errors.Is(err, unix.EAGAIN):
				return b.Len() > before
			case err != nil:
				failed = err
				return true
			}
			// What the kernel sends into a TUN device is an IP packet; the exception (a raw socket's garbage)
			// is nothing that a peer could take.
			_ = b.Extend(n)
		}
		return true
	})
	if err == nil {
		err = failed
	}
	switch {
	case err == nil:
		return nil
	case d.closed.Load(): // a RawConn's own error for it is not exported
		return os.ErrClosed
	}
	return fmt.Errorf("read %s: %w", d.Name(), err)
}
