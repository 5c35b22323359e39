package tun

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/defect"
	"tunnel/nonblock"
	"tunnel/packet"
)

func (d *device) ReadBatches(give func(*packet.Batch)) error {
	d.mu.Lock()
	d.give = give
	if defect.Is(d.failed) { // of the call before
		d.failed = nil
	}
	d.mu.Unlock()
	err := d.wake.raw.Read(d.drain)
	d.mu.Lock()
	d.give = nil
	if d.failed != nil {
		err = d.failed
	}
	d.mu.Unlock()
	switch {
	case defect.Is(err) && !d.closed.Load():
		return err
	case d.closed.Load(): // a RawConn's own error for it is not exported
		return os.ErrClosed
	}
	// The error itself is EBADFD, from the kernel (tun_get in drivers/net/tun.c), or the runtime's.
	if _, missing := net.InterfaceByName(d.Name()); missing != nil {
		return fmt.Errorf("%w: %s", ErrGone, d.Name())
	}
	return fmt.Errorf("read %s: %w", d.Name(), err)
}

// drainAll gives out all waiting packets. It returns true if the device failed or was closed, false
// if it must be called again when packets wait. It reads again after each batch, because more may
// have come, and waiting for them costs a turn of the scheduler.
func (d *device) drainAll(uintptr) (done bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.closed.Load() && d.giveBatch() {
		if d.joined >= holdAfter {
			d.wake.close()
			d.mu.Unlock() // for drainReader
			nonblock.Pause(holdTime)
			d.mu.Lock()
			continue
		}
		d.mu.Unlock() // writers may wait, see waitAfter
		d.mu.Lock()
	}
	d.wake.open()
	return d.failed != nil || d.closed.Load()
}

// After datagrams that the kernel sends one by one, the reader waits for a moment, like the
// interrupt moderation of a network adapter. Otherwise it would be woken for each datagram, with
// nothing to join it to; the sender, which wakes it, and the other end would pay for each.
const (
	holdAfter = 3 // packets that could be joined to others, of one batch
	// and what the kernel adds, which is 50 (PR_SET_TIMERSLACK): a fifth of what fills the queue
	holdTime = 30 * time.Microsecond
)

// drainReader reads the device after every drainAfter packets that were written since the last
// read, and after each small one, unless the reader is active. Most packets have an answer, which
// the kernel puts into the device before the write returns; an acknowledgment may release twenty.
// The reader may not be running just then, and packets that do not fit into the device's queue are
// lost. written is the length of the packet.
//
// After waitAfter packets without the beginning of a read, all writers wait for the active reader:
// otherwise answers, not only to the writer's own packets, would be lost. The operating system or
// the runtime may have descheduled the reader.
func (d *device) drainReader(written int) {
	n := d.written.Add(1)
	switch {
	case n < drainAfter && written > smallPacket:
		return
	case n >= waitAfter:
		d.mu.Lock()
	case !d.mu.TryLock():
		return
	}
	defer d.mu.Unlock()
	if d.give != nil && d.failed == nil {
		d.giveBatch()
	}
}

const (
	// drainAfter times twenty is less than the usual queue of 100. After every packet it would
	// cost a tenth of the throughput.
	drainAfter = 4
	// waitAfter leaves half of the usual queue to what is not an answer, and to packets that have
	// several.
	waitAfter = 50
	// smallPacket has room for an acknowledgment with all its options (RFC 9293), over IPv6.
	smallPacket = packet.HeaderLen + 40 + 60
)

// giveBatch gives out a batch of waiting packets. It returns false if there were none. The caller
// holds mu, so that batches are given out in the order in which they were read.
func (d *device) giveBatch() (some bool) {
	defer defect.Catch(&d.failed) // also on a writer's goroutine: the reader returns it
	d.written.Store(0)
	d.joined = 0
	b := &d.batch
	if b.Len() > 0 { // a panic has left it: nothing of it is given out again
		*b, d.scratch = packet.Batch{}, nil
	}
	d.readAll(b)
	b.Seal()
	if b.Len() == 0 {
		return false
	}
	d.give(b)
	b.Reset()
	return true
}

// readAll reads into b until nothing waits, or b is full, or the device fails.
func (d *device) readAll(b *packet.Batch) {
	room := 0 // where the packet goes: behind the header that this device does not give
	if !d.offload.Vnet {
		room = packet.HeaderLen
	}
	for d.failed == nil && b.Size() <= packet.MaxBatch-packet.HeaderLen-packet.MaxPacket {
		if d.scratch == nil {
			d.scratch = packet.NewPacket(packet.HeaderLen + packet.MaxPacket)
			clear(d.scratch.Record()[:packet.HeaderLen])
		}
		switch n, err := nonblock.Read(uintptr(d.fd), d.scratch.Record()[room:]); {
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil:
			d.failed = err
		default:
			d.add(b, n+room)
		}
	}
}

// add adds the first n bytes of the scratch packet to b.
func (d *device) add(b *packet.Batch, n int) {
	record := d.scratch.Record()[:n]
	// What the kernel sends into a TUN device is an IP packet; the exception (a raw socket's
	// garbage) is nothing that a peer could take.
	if n < packet.HeaderLen {
		return
	}
	if length, err := packet.Length(record[packet.HeaderLen:]); err != nil ||
		length != n-packet.HeaderLen {
		return
	}
	switch err := packet.Check(record); {
	case err == nil:
	case errors.Is(err, packet.ErrAmplifies):
		// no peer would take it: a TCP connection with a tiny MSS, or Linux 6.9's 128 datagrams
		packet.Segments(record, func(ip []byte) {
			p := packet.NewPacket(packet.HeaderLen + len(ip))
			clear(p.Record()[:packet.HeaderLen])
			copy(p.IP(), ip)
			if b.Join(p.Record(), d.offload.USO) {
				p.Free()
				return
			}
			b.Add(p)
		})
		return
	default:
		return
	}
	switch {
	case n > packet.MiddleRoom:
		// kept where it was read; the others are copied, or joined to the one before
		d.scratch.Truncate(n)
		b.Add(d.scratch)
		d.scratch = nil
	case b.Join(record, d.offload.USO):
		d.joined++
	default:
		p := packet.NewPacket(n)
		copy(p.Record(), record)
		b.Add(p)
	}
}
