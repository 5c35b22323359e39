package ws

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/nonblock"
	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/fq"
	"tunnel/transport/tcp"
	"tunnel/transport/ws/frame"
)

// This file is the way in. fill waits for a turn and for bytes, and readTCP (over TLS:
// tcp.Conn.ReadRecords) reads them behind the bytes that the buffer already holds. advance then
// walks over the buffer: it removes frame headers, answers control frames and unmasks payload. take
// splits the payload into records, and batch returns them to the one reader of the connection; when
// the buffer holds no complete record, batch calls fill again. Before Run, text returns the control
// messages instead. While the connection closes, discard reads on to the close frame.

// inputRoom is how many bytes are read at once: what a record of the largest size leaves room for
// beside others.
const inputRoom = fq.ReaderRoom

//nolint:gochecknoglobals // a pool is shared by design: only a connection on which a frame is arriving needs a buffer
var inputPool = sync.Pool{New: func() any { b := make([]byte, inputRoom); return &b }}

// input takes the frames that arrive apart (RFC 6455 section 5). It is here and not in the library
// because that hands each of its reads to another goroutine, twice a frame. Records are given out
// as soon as they are complete, and not when their message is: half of a large batch need not wait
// for the other half.
//
// In the buffer lie, one behind the other: what was given out, the beginning of a record (or of a
// control message) that is not complete yet, what has come behind it. Frame headers and control
// frames that lie in between are closed over.
type input struct {
	wire   *tcp.Conn
	masked bool         // the peer is a client
	pong   func([]byte) // answers a ping
	idle   controls     // of the frames that carry nothing

	read   func(fd uintptr) bool // readTCP; a closure made anew for each call would be garbage
	failed error
	over   error // what ends the connection and came behind records that had to be given out first

	stuck func() time.Duration // for how long the peer takes nothing of what waits for it

	// of Run, whose budget is charged for a buffer that waits with something in it; nil before
	queue *fq.Queue
	held  int     // bytes that it is charged
	few   []byte  // what was in the buffer, in one of its size
	turn  fq.Turn // in which a reader has something in hand; without a bound before Run

	buf *[]byte // nil while nothing is in it
	// of the record that is not complete; of what nobody has looked at; of all
	tail, next, end int
	more            bool // whole records may lie before next: the batch was full

	// Of the message that is arriving.
	opcode byte   // 0 for none
	fin    bool   // the frame is its last
	left   uint64 // bytes of the frame that are still to come
	size   uint64 // bytes of the message so far, with left
	key    [4]byte
	phase  int // of the mask
}

// begin gets the input ready; early is what came before.
func (in *input) begin(early []byte) {
	in.read = in.readTCP
	if len(early) > 0 {
		in.buf, _ = inputPool.Get().(*[]byte)
		in.end = copy(*in.buf, early)
	}
}

// fill waits for bytes, and for a turn, and reads what is there. A buffer is taken only then.
func (in *input) fill() error {
	in.turn.End()
	in.pause()
	in.wire.AwaitMore()
	before := in.end - in.tail
	if !in.turn.Try() {
		in.shrink()
		in.charge()
		in.turn.Wait()
		in.refund()
	}
	var err error
	if !in.wire.Secured() {
		if err = in.wire.ReadIn(&in.turn, in.read); err == nil {
			err = in.failed
		}
	} else {
		if in.buf == nil {
			err = in.wire.Await()
		}
		if err == nil {
			var n int
			n, err = in.wire.ReadRecords(in.room())
			in.end += n
		}
	}
	in.refund()
	if err != nil {
		if in.few != nil { // of no use without the rest
			in.few, in.tail, in.next, in.end = nil, 0, 0, 0
		}
		in.release()
		return err
	}
	in.wire.Received(in.end - in.tail - before)
	return nil
}

// readTCP is called until it returns true.
func (in *input) readTCP(fd uintptr) bool {
	if !in.turn.Try() {
		return true
	}
	var n int
	in.refund()
	n, in.failed = nonblock.Read(fd, in.turn.Limit(in.room()))
	in.end += n
	switch {
	case errors.Is(in.failed, unix.EAGAIN):
		in.turn.End()
		in.shrink()
		in.charge()
		return false
	case n == 0 && in.failed == nil:
		in.failed = io.EOF
	}
	return true
}

// room returns the free part of the buffer, behind all that is still needed, which it moves to the
// front.
func (in *input) room() []byte {
	if in.buf == nil {
		in.buf, _ = inputPool.Get().(*[]byte)
		copy((*in.buf)[in.tail:], in.few)
		in.few = nil
	}
	b := *in.buf
	copy(b, b[in.tail:in.end])
	in.tail, in.next, in.end = 0, in.next-in.tail, in.end-in.tail
	return b[in.end:]
}

// release gives the buffer back if nothing is in it.
func (in *input) release() {
	if in.buf != nil && in.tail == in.end {
		inputPool.Put(in.buf)
		in.buf, in.tail, in.next, in.end = nil, 0, 0, 0
	}
}

// shrink gives the buffer back if nothing is in it, or, while memory is short, puts what is in it
// into one of its size.
func (in *input) shrink() {
	in.release()
	if in.buf == nil || !in.queue.Short() {
		return
	}
	in.few = slices.Clone((*in.buf)[in.tail:in.end])
	inputPool.Put(in.buf)
	in.buf = nil
	in.tail, in.next, in.end = 0, in.next-in.tail, in.end-in.tail
}

// charge has the queue's budget charged for the buffer, while the reader waits.
func (in *input) charge() {
	in.refund() // it has waited in vain
	if in.held = cap(in.few); in.buf != nil {
		in.held = inputRoom
	}
	in.queue.Hold(in.held)
}

// refund undoes charge.
func (in *input) refund() {
	in.queue.Hold(-in.held)
	in.held = 0
}

// advance goes one step on in what has come: over a piece of payload, which it unmasks, or else
// over the header of a frame, or a whole control frame. some is false when that takes more bytes.
func (in *input) advance() (some bool, err error) {
	if in.next == in.end {
		return false, nil
	}
	if in.left > 0 {
		n := int(min(in.left, uint64(in.end-in.next)))
		if in.masked {
			in.phase = frame.Mask((*in.buf)[in.next:in.next+n], in.key, in.phase)
		}
		in.next += n
		in.left -= uint64(n)
		return true, nil
	}
	p := (*in.buf)[in.next:in.end]
	h, err := frame.Parse(p, in.masked)
	if err != nil || h.Length == 0 {
		return false, err
	}
	if h.Opcode&frame.OpControl != 0 {
		whole := h.Length + int(h.Payload)
		if len(p) < whole {
			return false, nil
		}
		body := p[h.Length:whole]
		frame.Mask(body, h.Key, 0)
		err := in.control(h.Opcode, body)
		in.skip(whole)
		return true, err
	}
	if (h.Opcode == frame.OpContinuation) != (in.opcode != 0) {
		return false, frame.Violation("a fragmented message is mixed up")
	}
	if h.Opcode != frame.OpContinuation {
		in.opcode, in.size = h.Opcode, 0
	}
	if h.Payload == 0 { // a heartbeat, or a fragment of nothing
		if err := in.idle.frame(time.Now()); err != nil {
			return false, err
		}
	}
	in.fin, in.left, in.key, in.phase = h.Fin, h.Payload, h.Key, 0
	in.size += h.Payload
	in.skip(h.Length)
	return true, nil
}

// skip closes over the next n bytes, so that a record goes on behind them as if they were not
// there.
func (in *input) skip(n int) {
	b := *in.buf
	copy(b[in.tail+n:in.next+n], b[in.tail:in.next])
	in.tail += n
	in.next += n
}

// control acts on a control frame.
func (in *input) control(opcode byte, body []byte) error {
	if err := in.idle.frame(time.Now()); err != nil {
		return err
	}
	switch opcode {
	case frame.OpPing:
		in.pong(body)
		return nil
	case frame.OpPong:
		return nil
	}
	closed := &transport.CloseError{Code: transport.CodeNoStatus, Reason: "no reason given",
		Remote: true}
	switch {
	case len(body) == 1:
		return frame.Violation("a close frame with half a code")
	case len(body) > 2:
		closed.Reason = printable(string(body[2:]))
		fallthrough
	case len(body) == 2:
		closed.Code = transport.Code(binary.BigEndian.Uint16(body))
	}
	return closed
}

// ended tells whether the message that was arriving is complete.
func (in *input) ended() bool { return in.opcode != 0 && in.fin && in.left == 0 }

// text returns the next message, which must be a control message of up to maxControl bytes.
func (in *input) text() ([]byte, error) {
	var message []byte
	done := false
	for !done {
		if err := in.fill(); err != nil {
			return nil, err
		}
		for !done {
			some, err := in.advance()
			if err != nil {
				return nil, err
			}
			switch {
			case in.opcode == frame.OpBinary:
				return nil, frame.Violation("a batch before connected")
			case in.size > transport.MaxControl:
				return nil, frame.Violation("control message too long")
			case in.ended():
				message = append([]byte(nil), (*in.buf)[in.tail:in.next]...)
				in.tail, in.opcode = in.next, 0
				done = true
			}
			if !some {
				break
			}
		}
	}
	in.release()
	return message, nil
}

// take adds to b the records that are there, until it is full.
func (in *input) take(b *packet.Batch, framing packet.Framing) error {
	for {
		if !in.more {
			if some, err := in.advance(); err != nil || !some {
				return err
			}
		}
		switch {
		case in.opcode == frame.OpText:
			return frame.Violation("unknown state: no control message is due after connected")
		case in.size > packet.MaxBatch:
			return frame.Violation(packet.ErrTooLong.Error())
		}
		rest, err := b.Split((*in.buf)[in.tail:in.next], framing)
		in.more = err == nil && b.Full() && len(rest) > 0
		if err != nil || !in.more && in.ended() && len(rest) > 0 {
			return frame.Violation("malformed record")
		}
		in.tail = in.next - len(rest)
		if in.more {
			return nil
		}
		if in.ended() {
			in.opcode = 0
		}
	}
}

// batch adds to b, which is empty, the records that have come; it waits until there is one. They
// lie in the buffer, and are good until the next call.
func (in *input) batch(b *packet.Batch, framing packet.Framing) error {
	if in.over != nil {
		return in.over
	}
	for {
		in.over = in.take(b, framing)
		if b.Len() > 0 {
			return nil
		}
		if in.over != nil {
			return in.over
		}
		in.release()
		if err := in.fill(); err != nil {
			return err
		}
	}
}

// discard reads on to the close frame, which is its error, and forgets all else.
func (in *input) discard() error {
	in.more = false
	for some := true; some; {
		var err error
		if some, err = in.advance(); err != nil {
			return err
		}
		in.tail = in.next
		if in.ended() {
			in.opcode = 0
		}
	}
	in.release()
	return in.fill()
}

// close ends the input; nobody may use it after.
func (in *input) close() {
	in.turn.End()
	in.refund()
	in.few, in.tail = nil, in.end
	in.release()
}
