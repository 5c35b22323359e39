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
	"tunnel/transport/fq/turn"
	"tunnel/transport/redact"
	"tunnel/transport/tcp"
	"tunnel/transport/ws/frame"
)

// This file is the way in. fill waits for a turn and for bytes, and readTCP (over TLS:
// tcp.Conn.ReadRecords) reads them behind the bytes that the buffer already holds. advance then
// walks over the buffer: it removes frame headers, answers control frames and unmasks payload. take
// splits the payload into records, and batch returns them to the one reader of the connection; when
// the buffer holds no complete record, batch calls fill again. Before Run, text returns the control
// messages instead. While the connection closes, discard reads on to the close frame.

// inputRoom is the size of the buffer, in bytes: room for a record of maximum size and others.
const inputRoom = turn.ReaderRoom

//nolint:gochecknoglobals // a pool is shared by design: only a connection on which a frame is arriving needs a buffer
var inputPool = sync.Pool{New: func() any { b := make([]byte, inputRoom); return &b }}

// input parses the frames that arrive (RFC 6455 section 5). The WebSocket library is not used for
// this because it passes each of its reads to another goroutine, twice a frame. Records are
// returned as soon as they are complete, before their message is: half of a large batch need not
// wait for the other half.
//
// The buffer holds, in this order: records that were returned, unmasked payload of an incomplete
// record (or control message) from tail to next, and bytes that were not parsed yet from next to
// end. Frame headers and control frames in between are removed.
type input struct {
	wire   *tcp.Conn
	masked bool         // the peer is a client
	pong   func([]byte) // answers a ping
	sent   redact.Set   // what a reason may send back; set before Run
	idle   controls     // counts the frames that carry no packet

	read   func(fd uintptr) bool // readTCP, made once: a closure for each call would be garbage
	failed error                 // of readTCP
	over   error                 // ends the connection once the records before it were returned

	stuck func() time.Duration // for how long the peer has read nothing although bytes wait for it

	updated func(transport.Update) // called with each update; nil if this side takes none
	message []byte                 // the part of an update that has arrived

	// The queue of Run, nil before. Its budget is charged while the reader waits with bytes in its
	// buffer.
	queue *fq.Queue
	held  int       // bytes charged
	few   []byte    // replaces buf while memory is short: a buffer as small as its bytes
	turn  turn.Turn // held while the reader processes bytes; without a bound before Run

	buf *[]byte // nil while it holds no bytes
	// Offsets in buf: tail is the start of the incomplete record, next the start of the bytes that
	// were not parsed yet, end the end of all bytes.
	tail, next, end int
	more            bool // complete records may be left between tail and next: the batch was full

	// State of the message that is arriving.
	opcode byte   // 0 for none
	fin    bool   // the frame is its last
	left   uint64 // bytes of the frame that were not parsed yet
	size   uint64 // bytes of all frames of the message so far, with left
	key    [4]byte
	phase  int // position in key
}

// begin initialises in; early are the bytes that were read already.
func (in *input) begin(early []byte) {
	in.read = in.readTCP
	if len(early) > 0 {
		in.buf, _ = inputPool.Get().(*[]byte)
		in.end = copy(*in.buf, early)
	}
}

// fill waits for bytes and for a turn, and reads. It takes a buffer only when there are bytes.
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
		if in.few != nil { // useless without what follows
			in.few, in.tail, in.next, in.end = nil, 0, 0, 0
		}
		in.release()
		return err
	}
	in.wire.Received(in.end - in.tail - before)
	return nil
}

// readTCP reads from the socket once; syscall.RawConn calls it again when it returns false.
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

// room moves the bytes that are still needed to the front of the buffer and returns the free part
// behind them.
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

// release returns the buffer to its pool if it holds no bytes.
func (in *input) release() {
	if in.buf != nil && in.tail == in.end {
		inputPool.Put(in.buf)
		in.buf, in.tail, in.next, in.end = nil, 0, 0, 0
	}
}

// shrink releases the buffer if it holds no bytes. While memory is short it copies the bytes to a
// buffer of their size otherwise.
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

// charge charges the queue's budget for the buffer, before the reader waits.
func (in *input) charge() {
	in.refund() // of a wait before this one
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

// advance parses the next part of the bytes: a piece of payload, which it unmasks, the header of a
// frame, or a complete control frame. some reports that there was one; if not, more bytes are
// needed.
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

// skip removes the next n bytes, so that a record before them continues behind them.
func (in *input) skip(n int) {
	b := *in.buf
	copy(b[in.tail+n:in.next+n], b[in.tail:in.next])
	in.tail += n
	in.next += n
}

// control handles a control frame. The error is a *transport.CloseError for a close frame.
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
		closed.Reason = in.sent.Printable(string(body[2:]))
		fallthrough
	case len(body) == 2:
		closed.Code = transport.Code(binary.BigEndian.Uint16(body))
	}
	return closed
}

// ended reports whether the message that was arriving is complete.
func (in *input) ended() bool { return in.opcode != 0 && in.fin && in.left == 0 }

// take adds complete records to b until it is full or more bytes are needed.
func (in *input) take(b *packet.Batch, framing packet.Framing) error {
	for {
		if !in.more {
			if some, err := in.advance(); err != nil || !some {
				return err
			}
		}
		switch {
		case in.opcode == frame.OpText:
			if err := in.update(); err != nil {
				return err
			}
			continue
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

// batch adds the records that have arrived to b, which is empty, and waits until there is one. They
// lie in the buffer and are valid until the next call.
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

// discard parses and drops the bytes that have arrived, and reads more. It returns a
// *transport.CloseError when it meets the close frame.
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

// close releases all that in holds. in must not be used after it.
func (in *input) close() {
	in.turn.End()
	in.refund()
	in.few, in.tail, in.message = nil, in.end, nil
	in.release()
}
