// Package meter measures flows while somebody asks for them: who sends to whom and how much, how
// long packets wait in a queue, and which are marked or dropped there. While nobody asks, a batch
// of packets costs one atomic load.
package meter

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tunnel/packet"
)

// Most bounds the measurements that run at once: each counts every packet.
const Most = 4

// ErrBusy is returned while Most measurements run.
var ErrBusy = errors.New("4 measurements of flows run, and no more may at once")

// Meter measures the flows through one client or server. Its methods are safe for concurrent use.
// The zero Meter is ready to use; the nil *Meter measures nothing.
type Meter struct {
	taps atomic.Pointer[Tap] // replaced, never modified; nil while nobody asks
	mu   sync.Mutex          // held to replace it
}

// Tap counts packets in the measurements that run. It is valid for one batch; len is 0 while none
// runs. The methods may be called by a goroutine that holds the lock of a queue.
type Tap []*table

// Tap returns where to count the packets of a batch.
func (m *Meter) Tap() Tap {
	if m == nil {
		return nil
	}
	if t := m.taps.Load(); t != nil {
		return *t
	}
	return nil
}

// Measure counts for that time, or until ctx ends, which is an error. The error is ErrBusy if there
// are too many that measure.
func (m *Meter) Measure(ctx context.Context, during time.Duration) (Flows, error) {
	t := new(table)
	if !m.add(t) {
		return Flows{}, ErrBusy
	}
	begin, end := time.Now(), time.NewTimer(during)
	defer end.Stop()
	select {
	case <-end.C:
	case <-ctx.Done():
	}
	m.remove(t)
	took := time.Since(begin)
	if err := ctx.Err(); err != nil {
		return Flows{}, err
	}
	return t.flows(took), nil
}

// add has packets counted in t, and reports whether there was room for it.
func (m *Meter) add(t *table) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.Tap()
	if len(all) == Most {
		return false
	}
	all = append(slices.Clone(all), t)
	m.taps.Store(&all)
	return true
}

// remove undoes add. Batches that have begun may still be counted in t.
func (m *Meter) remove(t *table) {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(m.Tap()), func(other *table) bool { return other == t })
	if len(all) == 0 {
		m.taps.Store(nil)
		return
	}
	m.taps.Store(&all)
}

// Sent counts a packet that leaves a queue for a connection, after it has waited for delay.
func (t Tap) Sent(p *packet.Packet, delay time.Duration) {
	bytes, packets := packet.Extent(p.Record(), packet.FramingVnet)
	t.note(p.IP(), Out, Count{Bytes: uint64(bytes), Packets: uint64(packets)}, bytes, max(delay, 0))
}

// Written counts the packets of a batch that came from connections, before they are written to the
// device: also those that the kernel then refuses.
func (m *Meter) Written(b *packet.Batch) {
	t := m.Tap()
	if len(t) == 0 {
		return
	}
	for i := range b.Len() {
		bytes, packets := packet.Extent(b.Record(i), b.Framing())
		t.note(b.IP(i), In, Count{Bytes: uint64(bytes), Packets: uint64(packets)}, bytes, unqueued)
	}
}

// Marked counts the mark (CE) that a queue has set in p: all its segments will have it.
func (m *Meter) Marked(p *packet.Packet) {
	if t := m.Tap(); len(t) > 0 {
		_, packets := packet.Extent(p.Record(), packet.FramingVnet)
		t.note(p.IP(), Out, Count{Marked: uint64(packets)}, 0, unqueued) // its bytes will be sent
	}
}

// Dropped counts p, which a queue drops with all its segments. The caller frees it afterwards.
func (m *Meter) Dropped(p *packet.Packet) {
	if t := m.Tap(); len(t) > 0 {
		bytes, packets := packet.Extent(p.Record(), packet.FramingVnet)
		t.note(p.IP(), Out, Count{Dropped: uint64(packets)}, bytes, unqueued)
	}
}

// DroppedSegment counts one segment of p that a queue drops, or p if it has none.
func (m *Meter) DroppedSegment(p *packet.Packet) {
	if t := m.Tap(); len(t) > 0 {
		bytes, packets := packet.Extent(p.Record(), packet.FramingVnet)
		t.note(p.IP(), Out, Count{Dropped: 1}, bytes/packets, unqueued)
	}
}

// unqueued is the delay of what has not left a queue.
const unqueued = -1

// note adds c to the flow of an IP packet, and weight to what the flow weighs.
func (t Tap) note(ip []byte, way Way, c Count, weight int, delay time.Duration) {
	hash, flow := packet.FlowHash(ip), packet.FlowOf(ip)
	for _, to := range t {
		to.note(hash, key{flow, way}, c, uint64(weight), delay)
	}
}
