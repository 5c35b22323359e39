package packet

import "errors"

// MaxBatch bounds a batch, and so a binary WebSocket message, in bytes. A receiver closes the
// connection on more.
const MaxBatch = 512 << 10

// UsualBatch bounds the bytes of records that a sender puts into a batch, except that the last
// record may exceed it. With that record the batch still fits into the second-level cache.
const UsualBatch = 192 << 10

// ErrTooLong is returned for a message of more than MaxBatch bytes.
var ErrTooLong = errors.New("batch longer than 512 KiB")

// Framing is the format of records on the wire.
type Framing uint8

// The framings of the protocol.
const (
	FramingIP Framing = iota // an IP packet
	// a virtio_net_hdr and an IP packet, which may be a super-packet of up to 64 KiB
	FramingVnet
)

// HeaderLen returns the bytes before the IP packet of each record.
func (f Framing) HeaderLen() int {
	if f == FramingVnet {
		return HeaderLen
	}
	return 0
}

// Batch is a sequence of records: those that a TUN device reads or writes at once, or that one
// binary WebSocket message carries. Records come either from Add, each a Packet with its own
// buffer, or from Split, all in a buffer of the caller. The zero Batch is empty and ready to use. A
// Batch belongs to one goroutine at a time; its records are valid until Reset.
type Batch struct {
	framing Framing
	size    int
	records []record
	run     run
}

type record struct {
	bytes []byte
	owner *Packet // nil for records of Split, in the caller's buffer
}

// maxSplit bounds the records that a Batch takes from Split. Its bookkeeping is many times the size
// of small records, and is kept for reuse.
const maxSplit = 256

// Full reports whether Split can add no more records to b.
func (b *Batch) Full() bool { return len(b.records) >= maxSplit }

// Reset empties b and frees its buffers.
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

// Size returns the bytes of all records added to b.
func (b *Batch) Size() int { return b.size }

// Room returns the memory, in bytes, of the buffers of packets from Add.
func (b *Batch) Room() (n int) {
	for i := range b.records {
		if p := b.records[i].owner; p != nil {
			n += p.Room()
		}
	}
	return n
}

// Framing returns the format of the records: FramingVnet for those of Add, the message's own for
// those of Split.
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

// Take removes record i from b and returns it as a Packet that the caller owns: the one that was
// added, or a copy out of a message. Record i must not be used afterwards.
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

// Split appends the records in p, part of a message of this framing, until b is Full. It returns
// the rest: an incomplete record, and the records that did not fit into a full batch. The records
// are valid until p is changed, and are adjacent in one buffer, which Merge changes. The error is
// ErrMalformed.
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

// Filter keeps the records for whose index keep returns true, in their order, and drops the others.
// keep may Take a record that it drops.
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
