package packet

import "errors"

// MaxBatch is the most bytes that one batch, and so one binary WebSocket message, may hold. A receiver closes the
// connection on more.
const MaxBatch = 512 << 10

// ErrTooLong says that a message holds more than MaxBatch bytes.
var ErrTooLong = errors.New("batch longer than 512 KiB")

// Framing is what a record is made of on the wire.
type Framing uint8

// The framings of the protocol.
const (
	FramingIP   Framing = iota // an IP packet
	FramingVnet                // a virtio_net_hdr and an IP packet, which may be a super-packet of up to 64 KiB
)

// HeaderLen returns the bytes before the IP packet of each record.
func (f Framing) HeaderLen() int {
	if f == FramingVnet {
		return HeaderLen
	}
	return 0
}

// Batch is a run of records: what a TUN device gives or takes at once, and what one binary WebSocket message carries.
// Records come either from Add, each a Packet with a buffer of its own, or from Split, all in a buffer that somebody
// else has. The zero Batch is empty and ready to use. A Batch belongs to one goroutine at a time; the records that it
// gives out are good until Reset.
type Batch struct {
	framing Framing
	size    int
	records []record
	run     run
}

type record struct {
	bytes []byte
	owner *Packet // nil when bytes lie in somebody else's buffer
}

// maxSplit is how many records a Batch takes from Split. What it knows of them is many times their
// size when they are small, and it keeps the room for that.
const maxSplit = 256

// Full reports whether Split adds nothing more to b.
func (b *Batch) Full() bool { return len(b.records) >= maxSplit }

// Reset empties b and gives its buffers back.
func (b *Batch) Reset() {
	for i := range b.records {
		if p := b.records[i].owner; p != nil {
			p.Free()
		}
		b.records[i] = record{}
	}
	b.records, b.size, b.run = b.records[:0], 0, run{}
	b.framing = FramingIP
}

// Len returns the number of records in b.
func (b *Batch) Len() int { return len(b.records) }

// Size returns the bytes of all records that came into b.
func (b *Batch) Size() int { return b.size }

// Room returns the bytes that the buffers of packets from Add take in memory.
func (b *Batch) Room() (n int) {
	for i := range b.records {
		if p := b.records[i].owner; p != nil {
			n += p.Room()
		}
	}
	return n
}

// Framing returns what the records are made of: FramingVnet for those of Add, the message's own for those of Split.
func (b *Batch) Framing() Framing { return b.framing }

// Record returns record i, 0 ≤ i < Len, with its virtio_net_hdr if the framing has one.
func (b *Batch) Record(i int) []byte { return b.records[i].bytes }

// IP returns the IP packet of record i.
func (b *Batch) IP(i int) []byte { return b.records[i].bytes[b.framing.HeaderLen():] }

// Add appends p, which b then owns. All records of a batch come from Add or all from Split.
func (b *Batch) Add(p *Packet) {
	b.Seal()
	b.framing = FramingVnet
	b.records = append(b.records, record{p.data, p})
	b.size += len(p.data)
}

// Take takes record i out of b as a Packet that the caller owns: the very one that was added, or a copy of what lies in
// a message. Nobody may look at record i after.
func (b *Batch) Take(i int) *Packet {
	r := &b.records[i]
	if p := r.owner; p != nil {
		r.owner = nil
		return p
	}
	room := HeaderLen - b.framing.HeaderLen()
	p := NewPacket(room + len(r.bytes))
	clear(p.data[:room])
	copy(p.data[room:], r.bytes)
	return p
}

// Split appends the records that lie in p, of a message of this framing, until b is Full, and returns what is
// left: the beginning of a record that is not complete, and of a full batch all that did not fit. The records are good as long as p is not changed, and all that come into b lie in one buffer,
// one behind the other: Merge changes p. The error is ErrMalformed.
func (b *Batch) Split(p []byte, framing Framing) (rest []byte, err error) {
	b.framing = framing
	header := framing.HeaderLen()
	for len(p) > header && !b.Full() {
		n, err := Length(p[header:])
		if errors.Is(err, ErrShort) {
			break
		}
		if err != nil {
			return nil, err
		}
		n += header
		b.records = append(b.records, record{bytes: p[:n]})
		b.size += n
		p = p[n:]
	}
	return p, nil
}

// Filter keeps the records whose index keep approves, in their order, and forgets the others. keep may Take a record
// that it does not approve.
func (b *Batch) Filter(keep func(i int) bool) {
	kept := 0
	for i := range b.records {
		if keep(i) {
			b.records[kept] = b.records[i]
			kept++
			continue
		}
		if p := b.records[i].owner; p != nil {
			p.Free()
		}
	}
	clear(b.records[kept:])
	b.records = b.records[:kept]
}
