package tun

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"tunnel/nonblock"
	"tunnel/packet"
)

// writer is a call of WriteBatch. Writers are kept: what each has to have would be garbage if every call made its own.
type writer struct {
	d       *device
	writeIP func(ip []byte)
	header  [packet.HeaderLen]byte // all zero: nothing to segment, nothing to fill in
	parts   [2][]byte
	failed  error // of the record that is being written
}

func newWriter(d *device) *writer {
	w := &writer{d: d}
	w.writeIP = w.ip
	return w
}

func (d *device) WriteBatch(b *packet.Batch) (refused int, err error) {
	d.use.RLock()
	defer d.use.RUnlock()
	if d.closed.Load() {
		return 0, os.ErrClosed
	}
	w, _ := d.writers.Get().(*writer)
	defer d.writers.Put(w)
	for i := range b.Len() {
		switch err := w.record(b, i); {
		case err == nil:
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

// record hands record i of b to the kernel, in the form that the device takes.
func (w *writer) record(b *packet.Batch, i int) error {
	w.failed = nil
	switch record := b.Record(i); {
	case b.Framing() == packet.FramingIP:
		w.ip(record)
	case w.d.offload.Vnet && (w.d.offload.USO || !packet.ParseHeader(record).UDP()):
		w.write(record)
	default:
		packet.Segments(record, w.writeIP)
	}
	return w.failed
}

// ip hands one complete IP packet to the kernel.
func (w *writer) ip(ip []byte) {
	if !w.d.offload.Vnet {
		w.write(ip)
		return
	}
	w.write(w.header[:], ip)
}

// write hands what lies in parts to the kernel as one packet. A TUN device always has room (tun_get_user waits for memory
// at most).
func (w *writer) write(parts ...[]byte) {
	n, err := nonblock.Writev(uintptr(w.d.fd), w.parts[:copy(w.parts[:], parts)])
	if err != nil {
		w.failed = err
	}
	w.d.relieve(n)
}
