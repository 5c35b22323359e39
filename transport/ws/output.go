package ws

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tunnel/defect"
	"tunnel/packet"
	"tunnel/transport/fq"
	"tunnel/transport/tcp"
	"tunnel/transport/ws/frame"
)

// This file is the way out. A producer that has pushed packets calls Flush, which sends on the
// producer's own goroutine: drain calls next for the control frames or packets that are due, put
// builds frames of the packets, encode passes them through TLS, and writeLeft gives them to the
// socket. When the socket takes no more, Flush leaves the rest to resume, a goroutine that waits
// for the socket and then drains again. Before Run, write sends messages and waits for the socket.

// output is the way out of a connection. Frames leave on the goroutine of the producer that has
// something to send, as long as the socket takes them at once: a packet then needs no other
// goroutine, whose waking costs more than the packet. When the socket has enough, a goroutine waits
// for it and goes on. Nobody else ever waits here.
type output struct {
	wire    *tcp.Conn
	form    frame.Form     // of the frames
	queue   *fq.Queue      // of Run; nil before
	failed  func(error)    // called when the connection is unusable; perhaps more than once
	resumes sync.WaitGroup // of resume

	waiting atomic.Bool  // resume waits for the socket
	closed  atomic.Bool  // the close frame is on its way: nothing may follow it
	spoiled atomic.Bool  // drain has met a defect: no packet may follow
	sent    atomic.Int64 // time of the last write, nanoseconds of wire.Age
	full    atomic.Int64 // time from which the socket has enough, as sent; 0 for not

	mu    sync.Mutex // held by the one who sends; guards all below but controls
	tuner *tcp.Tuner
	batch packet.Batch  // what is on its way out
	frame *frame.Buffer // what it is made of; nil for nothing
	tls   *[]byte       // the same behind TLS
	left  net.Buffers   // what of it the socket has not taken
	count int           // packets of which that is made
	// bytes that the queue's budget is charged for it, while the socket has enough
	held int
	over bool

	controls controlQueue
	gone     chan struct{} // closed when the close frame has gone out
}

// controlQueue has the control frames that wait to go out before any batch.
type controlQueue struct {
	some    atomic.Bool
	mu      sync.Mutex
	frames  []byte
	closing bool // the last of them is a close frame
}

// maxControlQueue bounds the control frames that wait, in bytes: a peer that pings and does not
// read loses pongs.
const maxControlQueue = 4 << 10

// start makes q the way to the packets, and failed what is told of failures.
func (o *output) start(q *fq.Queue, keepalive time.Duration, failed func(error)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue, o.failed = q, failed
	o.tuner.Start(keepalive, q.Allowance())
	o.apply()
	o.sent.Store(int64(o.wire.Age()))
}

// Flush sends what waits. It does nothing while somebody else is at it, who then sees what the
// caller has put there.
func (o *output) Flush() {
	for o.Due() && o.mu.TryLock() {
		full, err := o.drain()
		if full {
			o.full.CompareAndSwap(0, int64(o.wire.Age()))
			o.waiting.Store(true)
			o.resumes.Go(o.resume)
		}
		o.mu.Unlock()
		if err != nil {
			o.failed(err)
			return
		}
	}
}

// FlushAside is Flush on a goroutine of its own.
func (o *output) FlushAside() {
	if !o.Due() || !o.mu.TryLock() {
		return
	}
	defer o.mu.Unlock()
	if !o.over {
		o.waiting.Store(true)
		o.resumes.Go(o.resume)
	}
}

// Due reports whether Flush has something to do.
func (o *output) Due() bool {
	return !o.waiting.Load() && !o.closed.Load() && (o.controls.some.Load() || o.queue != nil &&
		o.queue.Len() > 0 && !o.spoiled.Load())
}

// drain sends until nothing waits, or until the socket has enough, which is full. It may run on the
// goroutine of another peer, or of the device: a panic in it is an error of this connection alone.
// The caller holds mu, as for all that follows.
func (o *output) drain() (full bool, err error) {
	defer func() {
		if err != nil && defect.Is(err) {
			o.spoil()
		}
	}()
	defer defect.Catch(&err)
	for !o.over {
		if err := o.writeLeft(); err != nil {
			return false, err
		}
		if len(o.left) > 0 {
			o.charge()
			return true, nil
		}
		some, full, err := o.next()
		if !some || err != nil {
			return full, err
		}
	}
	return false, nil
}

// next makes left of what is next: control frames, or packets from the queue if the socket takes
// them; full reports that it does not.
func (o *output) next() (some, full bool, err error) {
	if frames := o.takeControls(); len(frames) > 0 {
		return true, false, o.encode(net.Buffers{frames})
	}
	if o.closed.Load() || o.spoiled.Load() || o.queue == nil || o.queue.Len() == 0 {
		return false, false, nil
	}
	if ready, err := o.wire.Writable(); err != nil || !ready {
		return false, err == nil, err
	}
	if o.tuner.Look() {
		o.apply()
	}
	o.queue.Pop(&o.batch, o.budget())
	o.count = o.batch.Len()
	if o.count == 0 {
		return false, false, nil
	}
	return true, false, o.put()
}

// takeControls returns the control frames that wait.
func (o *output) takeControls() []byte {
	u := &o.controls
	if !u.some.Load() {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	frames := u.frames
	u.frames = nil
	u.some.Store(false)
	o.closed.Store(u.closing)
	return frames
}

// budget returns how many bytes of packets go into one message: few while memory is short, for
// nothing of a message on its way out can be dropped.
func (o *output) budget() int {
	if o.queue.Short() {
		return min(o.tuner.Message, tcp.MinMessage)
	}
	return o.tuner.Message
}

// apply puts the tuner's settings into force that are not the socket's own.
func (o *output) apply() {
	o.queue.SetCoDel(o.tuner.Target, o.tuner.Interval)
	o.wire.Coalesce(o.tuner.Coalesce)
}

// put makes left of the batch.
func (o *output) put() error {
	o.frame = frame.New()
	frames := o.frame.Build(&o.batch, o.form)
	if o.frame.Copied() {
		o.batch.Reset()
	}
	return o.encode(frames)
}

// encode makes left of frames, through TLS if there is any.
func (o *output) encode(frames net.Buffers) error {
	if !o.wire.Secured() {
		o.left = frames
		return nil
	}
	for _, p := range frames {
		for record := range slices.Chunk(p, o.tuner.Record) {
			if _, err := o.wire.Write(record); err != nil {
				return err
			}
		}
	}
	o.free() // TLS has made a copy
	o.tls = o.wire.Take()
	o.left = append(o.left, *o.tls)
	return nil
}

// writeLeft writes what is left, as far as the socket takes it.
func (o *output) writeLeft() error {
	if len(o.left) == 0 {
		return nil
	}
	if err := o.wire.WriteSome(&o.left); err != nil {
		return err
	}
	o.sent.Store(int64(o.wire.Age()))
	if len(o.left) == 0 {
		o.free()
		o.refund()
		o.count = 0
		if o.closed.Load() && !o.over { // only a close frame sets it, and nothing follows one
			o.over = true
			close(o.gone)
		}
	}
	return nil
}

// free gives the buffers back of what has gone out.
func (o *output) free() {
	o.left = o.left[:0]
	o.batch.Reset()
	if o.frame != nil {
		o.frame.Free()
		o.frame = nil
	}
	if o.tls != nil {
		tcp.Recycle(o.tls)
		o.tls = nil
	}
}

// charge has the queue's budget charged for what is left, which may be there for long now. While
// memory is short that is copied to a buffer of its size.
func (o *output) charge() {
	if o.queue == nil || o.held > 0 {
		return
	}
	if o.queue.Short() {
		left := slices.Concat(o.left...)
		o.free()
		o.left = net.Buffers{left}
		o.held = cap(left)
	} else {
		o.held = o.batch.Room()
		if o.frame != nil {
			o.held += o.frame.Room()
		}
		if o.tls != nil {
			o.held += cap(*o.tls)
		}
	}
	o.queue.Hold(o.held)
}

// refund undoes charge.
func (o *output) refund() {
	if o.held > 0 {
		o.queue.Hold(-o.held)
		o.held = 0
	}
}

// resume waits for the socket and goes on where it had enough.
func (o *output) resume() {
	for full := true; full; {
		err := o.wire.WaitWritable()
		if err == nil {
			o.mu.Lock()
			full, err = o.drain()
			if full {
				o.full.CompareAndSwap(0, int64(o.wire.Age()))
			} else {
				o.full.Store(0)
			}
			o.waiting.Store(full)
			o.mu.Unlock()
		}
		if err != nil { // and nobody sends any more: waiting stays
			o.failed(err)
			return
		}
	}
	o.Flush() // what came in between
}

// spoil gives up the packets that drain was sending when it met a defect. A close frame may follow
// unless half a frame, or half a TLS record, has gone out. The buffers are left to the garbage
// collector: who else holds them is not known.
func (o *output) spoil() {
	o.spoiled.Store(true)
	half := len(o.left) > 0 || o.wire.Take() != nil
	o.batch, o.frame, o.tls, o.left = packet.Batch{}, nil, nil, nil
	if half {
		o.closed.Store(true)
		o.over = true
		_ = o.wire.Close()
	}
}

// control sends a control frame, or an empty batch, before all batches that wait. Nothing follows a
// close frame.
func (o *output) control(opcode byte, body []byte) {
	o.controls.add(opcode, body, o.form.Client)
	o.Flush()
}

func (u *controlQueue) add(opcode byte, body []byte, client bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closing && (len(u.frames) < maxControlQueue || opcode == frame.OpClose) {
		u.frames = frame.Append(u.frames, opcode, body, client)
		u.closing = opcode == frame.OpClose
		u.some.Store(true)
	}
}

// write sends a batch, or a control message, and waits until the socket has taken it. Nobody else
// is sending: before Run.
func (o *output) write(encode func() error) error {
	err := o.writeAll(encode)
	o.Flush() // a close frame may have come in between
	return err
}

func (o *output) writeAll(encode func() error) (err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer defect.Catch(&err)
	err = encode()
	for err == nil && len(o.left) > 0 {
		if err = o.wire.WaitWritable(); err == nil {
			err = o.writeLeft()
		}
	}
	return err
}

// idle returns for how long nothing has gone out.
func (o *output) idle() time.Duration {
	return o.wire.Age() - time.Duration(o.sent.Load())
}

// stuck returns for how long the socket has taken nothing although something is to go out; 0 if it
// takes what there is.
func (o *output) stuck() time.Duration {
	since := o.full.Load()
	if since == 0 {
		return 0
	}
	return o.wire.Age() - time.Duration(max(since, o.sent.Load()))
}

// Drained reports whether what was sent longer ago than that has reached the peer for certain.
func (o *output) Drained(ago time.Duration) bool {
	return (!o.waiting.Load() || o.idle() < ago) && o.tuner.Drained(ago)
}

// Fail ends the connection.
func (o *output) Fail(err error) { o.failed(err) }

// finish ends the way out, whose connection is closed already, and gives all buffers back.
func (o *output) finish() {
	o.closed.Store(true)
	o.mu.Lock()
	o.over = true // whether or not the close frame went out
	if o.queue != nil && o.count > 0 {
		o.queue.Cut(o.count)
		o.count = 0
	}
	o.free()
	o.refund()
	o.tuner.Release()
	o.mu.Unlock()
	o.resumes.Wait()
}
