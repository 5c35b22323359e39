package tun

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"tunnel/packet"
)

func (d *device) WriteBatch(b *packet.Batch) (refused int, err error) {
	for i := range b.Len() {
		_, err := d.file.Write(b.Record(i))
		switch {
		case err == nil:
		case errors.Is(err, os.ErrClosed):
			return refused, os.ErrClosed
		case errors.Is(err, unix.EBADFD):
			// Somebody deleted the interface under us (drivers/net/tun.c: tun_get returned nothing).
			return refused, fmt.Errorf("write %s: the device is gone: %w", d.Name(), err)
		default:
			// A packet that this kernel does not take (EINVAL), or an interface that is down (EIO): the packet is lost,
			// as it would be on a wire.
			refused++
		}
	}
	return refused, nil
}
