package packet

import (
	"errors"
	"io"
)

// MaxBatch is the most bytes that one batch, and so one binary WebSocket message, may hold. A receiver closes the
// connection on more.
const MaxBatch = 512 << 10

// ErrTooLong says that a message holds more than MaxBatch bytes.
var ErrTooLong = errors.New("batch longer than 512 KiB")

// Batch is a run of records in one buffer: what a TUN device gives or takes at once, and what one binary WebSocket
// message carries. A record is one IP packet, and its length is in its own header. The zero Batch is empty and ready
// to use. A Batch belongs to one goroutine at a time and moves with the call that takes it; the records that it gives
// out are slices of its buffer, good until Reset.
type Batch struct {
	buf     []byte
	records []span
}

// A span is one record's place in the buffer.
type span struct{ start, end int }

// Reset empties b and keeps its buffer.
func (b *Batch) Reset() {
	b.buf = b.buf[:0]
	b.records = b.records[:0]
}

// Len returns the number of records in b.
func (b *Batch) Len() int { return len(b.records) }

// Size returns the bytes that b takes on the wire.
func (b *Batch) Size() int { return len(b.buf) }

// Record returns record i, 0 ≤ i < Len.
func (b *Batch) Record(i int) []byte {
	s := b.records[i]
	return b.buf[s.start:s.end:s.end]
}

// Bytes returns all records back to back, as they go into a message. After Filter it still holds what was filtered
// out, so it is for batches that are on their way out.
func (b *Batch) Bytes() []byte { return b.buf }

// Append copies one record to the end of b.
func (b *Batch) Append(record []byte) {
	start := len(b.buf)
	b.buf = append(b.buf, record...)
	b.records = append(b.records, span{start, len(b.buf)})
}

// Room returns n bytes of free buffer behind the last record, for a reader to fill before it calls Extend.
func (b *Batch) Room(n int) []byte {
	b.grow(n)
	return b.buf[len(b.buf) : len(b.buf)+n]
}

// Extend makes one record of the first n bytes that were read into Room. The error is ErrMalformed, and b is
// unchanged, when they are not exactly one IP packet.
func (b *Batch) Extend(n int) error {
	start := len(b.buf)
	length, err := Length(b.buf[start : start+n])
	if err != nil {
		return err
	}
	if length != n {
		return ErrMalformed
	}
	b.buf = b.buf[:start+n]
	b.records = append(b.records, span{start, start + n})
	return nil
}

// ReadFrom replaces the contents of b by one message read from r until its end, and splits it into records. The error
// is ErrMalformed when they do not fill the message exactly, ErrTooLong when it has more than MaxBatch bytes, or what
// r returned.
func (b *Batch) ReadFrom(r io.Reader) (int64, error) {
	b.Reset()
	for {
		if len(b.buf) == cap(b.buf) {
			b.grow(max(readStep, cap(b.buf)))
		}
		n, err := r.Read(b.buf[len(b.buf):cap(b.buf)])
		b.buf = b.buf[:len(b.buf)+n]
		if len(b.buf) > MaxBatch {
			return int64(len(b.buf)), ErrTooLong
		}
		if errors.Is(err, io.EOF) {
			return int64(len(b.buf)), b.split()
		}
		if err != nil {
			return int64(len(b.buf)), err
		}
	}
}

// readStep is the buffer, in bytes, that a first message gets; it doubles from there.
const readStep = 4 << 10

// split finds the records in the buffer.
func (b *Batch) split() error {
	for start := 0; start < len(b.buf); {
		n, err := Length(b.buf[start:])
		if err != nil {
			return err
		}
		b.records = append(b.records, span{start, start + n})
		start += n
	}
	return nil
}

// Filter keeps the records for which keep returns true, in their order.
func (b *Batch) Filter(keep func(record []byte) bool) {
	kept := b.records[:0]
	for _, s := range b.records {
		if keep(b.buf[s.start:s.end:s.end]) {
			kept = append(kept, s)
		}
	}
	b.records = kept
}

func (b *Batch) grow(n int) {
	if cap(b.buf)-len(b.buf) >= n {
		return
	}
	bigger := make([]byte, len(b.buf), max(len(b.buf)+n, 2*cap(b.buf)))
	copy(bigger, b.buf)
	b.buf = bigger
}
