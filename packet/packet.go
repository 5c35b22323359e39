package packet

import "sync"

// Packet is one record with a buffer of its own: a virtio_net_hdr and an IP packet behind it. It has one owner at a
// time and moves with the call that takes it; the last owner frees it.
type Packet struct {
	// Next links packets of a queue; it belongs to the queue that holds the packet.
	Next *Packet
	// Queued is when a queue took it, in nanoseconds of that queue's clock.
	Queued int64

	data  []byte
	store []byte
}

// SmallRoom is the most bytes of header and IP packet that get a small buffer. There are two sizes, because most packets
// are small or as large as can be.
const SmallRoom = 2 << 10

// largeRoom is the size of the other buffers.
const largeRoom = (HeaderLen + MaxPacket + 63) &^ 63

//nolint:gochecknoglobals // pools are shared by design: a packet is freed far from where it was made
var (
	smallPool = sync.Pool{New: func() any { return &Packet{store: make([]byte, SmallRoom)} }}
	largePool = sync.Pool{New: func() any { return &Packet{store: make([]byte, largeRoom)} }}
)

// NewPacket returns a Packet of n bytes, 0 ≤ n ≤ HeaderLen+MaxPacket, whose contents are not defined.
func NewPacket(n int) *Packet {
	pool := &largePool
	if n <= SmallRoom {
		pool = &smallPool
	}
	p := pool.Get().(*Packet) //nolint:forcetypeassert // the pools hold nothing else
	p.data = p.store[:n]
	return p
}

// Free gives the buffer back; p must not be used any more.
func (p *Packet) Free() {
	p.Next = nil
	if len(p.store) == SmallRoom {
		smallPool.Put(p)
	} else {
		largePool.Put(p)
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
