package packet

import "sync"

// Packet is one record with a buffer of its own: a virtio_net_hdr and an IP packet. It has one
// owner at a time; a call that takes it becomes the owner, and the last owner frees it.
type Packet struct {
	// Next links packets of a queue; it belongs to the queue that holds the packet.
	Next *Packet
	// Queued is when it was queued, in nanoseconds of the queue's clock.
	Queued int64

	data  []byte
	store []byte
}

// SmallRoom is the size of small buffers, in bytes of header and IP packet. Most packets are small
// or of nearly maximum size; between the two are jumbo frames, runs of small datagrams, and the
// super-packets of a flow on a slow link.
const SmallRoom = 2 << 10

// MiddleRoom is the size of the next larger buffers, in bytes.
const MiddleRoom = 16 << 10

// largeRoom is the size of the largest buffers: HeaderLen+MaxPacket, rounded up to pages of 8 KiB
// as Go's allocator does.
const largeRoom = (HeaderLen + MaxPacket + 8191) &^ 8191

// compactRoom is the minimum size of the buffers that Compact makes: beside that, the memory for
// the Packet itself is small and need not be counted.
const compactRoom = 512

//nolint:gochecknoglobals // pools are shared by design: a packet is freed far from where it was made
var (
	smallPool  = sync.Pool{New: func() any { return &Packet{store: make([]byte, SmallRoom)} }}
	middlePool = sync.Pool{New: func() any { return &Packet{store: make([]byte, MiddleRoom)} }}
	largePool  = sync.Pool{New: func() any { return &Packet{store: make([]byte, largeRoom)} }}
)

// poolOf returns the pool of the smallest buffers that hold n bytes.
func poolOf(n int) *sync.Pool {
	switch {
	case n <= SmallRoom:
		return &smallPool
	case n <= MiddleRoom:
		return &middlePool
	}
	return &largePool
}

// NewPacket returns a Packet of n bytes, 0 ≤ n ≤ HeaderLen+MaxPacket, with undefined contents.
func NewPacket(n int) *Packet {
	p := poolOf(n).Get().(*Packet) //nolint:forcetypeassert // the pools hold nothing else
	p.data = p.store[:n]
	return p
}

// Compact frees p and returns a copy with a buffer of the packet's size, for a packet that may wait
// long: a few such packets, left of many, could each keep a page of memory from being returned to
// the system.
func (p *Packet) Compact() *Packet {
	c := &Packet{store: make([]byte, max(p.Len(), compactRoom))}
	c.data = c.store[:copy(c.store, p.data)]
	p.Free()
	return c
}

// Free returns p to its pool; p must not be used after it.
func (p *Packet) Free() {
	p.Next = nil
	switch len(p.store) { // buffers of Compact have no pool
	case SmallRoom, MiddleRoom, largeRoom:
		poolOf(len(p.store)).Put(p)
	}
}

// Len returns the bytes of header and IP packet.
func (p *Packet) Len() int { return len(p.data) }

// Record returns header and IP packet.
func (p *Packet) Record() []byte { return p.data }

// IP returns the IP packet.
func (p *Packet) IP() []byte { return p.data[HeaderLen:] }

// Truncate cuts p to its first n bytes.
func (p *Packet) Truncate(n int) { p.data = p.data[:n] }

// Room returns the bytes that p's buffer takes in memory.
func (p *Packet) Room() int { return len(p.store) }
