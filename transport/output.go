package transport

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tunnel/defect"
	"tunnel/packet"
)

// output is the way out of a connection. Frames leave on the goroutine of whoever has something to send, as long as the
// socket takes them at once: a packet then needs no other goroutine, whose waking costs more than the packet. When the
// socket has enough, a goroutine waits for it and goes on. Nobody else ever waits here.
type output struct {
	wire    *wire
	client  bool // masks
	framing packet.Framing
	peerUSO bool           // the peer takes UDP super-packets
	queue   *Queue         // of Run; nil before
	failed  func(error)    // called when the connection is unusable; perhaps more than once
	resumes sync.WaitGroup // of resume

	waiting atomic.Bool  // resume waits for the socket
	closed  atomic.Bool  // the close frame is on its way: nothing may follow it
	spoiled atomic.Bool  // pump has met a defect: no packet may follow
	sent    atomic.Int64 // time of the last write, nanoseconds since wire.start

	mu    sync.Mutex // held by the one who sends; guards all below but urgent
	sock  socket
	batch packet.Batch // what is on its way out
	frame *frame       // what it is made of; nil for nothing
	tls   *[]byte      // the same behind TLS
	left  net.Buffers  // what of it the socket has not taken
	count int          // packets of which that is made
	held  int          // bytes that the queue's budget is charged for it, while the socket has enough
	over  bool

	urgent urgent
	gone   chan struct{} // closed when the close frame has gone out
}

// urgent has the control frames that wait to go out before any batch.
type urgent struct {
	some    atomic.Bool
	mu      sync.Mutex
	frames  []byte
	closing bool // the last of them is a close frame
}

// maxUrgent bounds the control frames that wait, in bytes: a peer that pings and does not read loses pongs.
const maxUrgent = 4 << 10

// start makes q the way to the packets, and failed what is told of failures.
func (o *output) start(q *Queue, keepalive time.Duration, failed func(error)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue, o.failed = q, failed
	o.sock.allowance = q.allowance
	o.sock.prepare(keepalive)
	o.sock.adapt()
	o.fit()
	o.sent.Store(int64(time.Since(o.wire.start)))
}

// finish ends the way out, whose connection is closed already, and gives all buffers back.
func (o *output) finish() {
	o.closed.Store(true)
	o.mu.Lock()
	o.over = true // whether or not the close frame went out
	if o.queue != nil && o.count > 0 {
		o.queue.cut(o.count)
		o.count = 0
	}
	o.free()
	o.unhold()
	o.sock.release()
	o.mu.Unlock()
	o.resumes.Wait()
}

// idle returns for how long nothing has gone out.
func (o *output) idle() time.Duration {
	return time.Since(o.wire.start) - time.Duration(o.sent.Load())
}

// prompt tells whether what was sent some time ago has reached the peer for certain.
func (o *output) prompt() bool {
	moment := time.Duration(prompt)
	return (!o.waiting.Load() || o.idle() < moment) && o.sock.prompt(moment)
}

// kick sends what waits. It does nothing while somebody else is at it, who then sees what the caller has put there.
func (o *output) kick() {
	for o.due() && o.mu.TryLock() {
		full, err := o.pump()
		if full {
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

// kickAside is kick on a goroutine of its own.
func (o *output) kickAside() {
	if !o.due() || !o.mu.TryLock() {
		return
	}
	defer o.mu.Unlock()
	if !o.over {
		o.waiting.Store(true)
		o.resumes.Go(o.resume)
	}
}

// due tells whether kick has something to do.
func (o *output) due() bool {
	return !o.waiting.Load() && !o.closed.Load() && (o.urgent.some.Load() || o.queue != nil && o.queue.Len() > 0 && !o.spoiled.Load())
}

// resume waits for the socket and goes on where it had enough.
func (o *output) resume() {
	for full := true; full; {
		err := o.wire.waitWritable()
		if err == nil {
			o.mu.Lock()
			full, err = o.pump()
			o.waiting.Store(full)
			o.mu.Unlock()
		}
		if err != nil { // and nobody sends any more: waiting stays
			o.failed(err)
			return
		}
	}
	o.kick() // what came in between
}

// pump sends until nothing waits, or until the socket has enough, which is full. It may run on the goroutine of another peer,
// or of the device: a panic in it is an error of this connection alone. The caller holds mu, as for all that follows.
func (o *output) pump() (full bool, err error) {
	defer func() {
		if err != nil && defect.Is(err) {
			o.spoil()
		}
	}()
	defer defect.Catch(&err)
	for !o.over {
		if err := o.flush(); err != nil {
			return false, err
		}
		if len(o.left) > 0 {
			o.hold()
			return true, nil
		}
		some, full, err := o.load()
		if !some || err != nil {
			return full, err
		}
	}
	return false, nil
}

// spoil gives up the packets that pump was sending when it met a defect. A close frame may follow unless half a frame, or half
// a TLS record, has gone out. The buffers are left to the garbage collector: who else holds them is not known.
func (o *output) spoil() {
	o.spoiled.Store(true)
	half := len(o.left) > 0 || o.wire.under != nil && o.wire.under.take() != nil
	o.batch, o.frame, o.tls, o.left = packet.Batch{}, nil, nil, nil
	if half {
		o.closed.Store(true)
		o.over = true
		_ = o.wire.Close()
	}
}

// flush writes what is left, as far as the socket takes it.
func (o *output) flush() error {
	if len(o.left) == 0 {
		return nil
	}
	if err := o.wire.writeSome(&o.left); err != nil {
		return err
	}
	o.sent.Store(int64(time.Since(o.wire.start)))
	if len(o.left) == 0 {
		o.free()
		o.unhold()
		o.count = 0
		if o.closed.Load() && !o.over { // only a close frame sets it, and nothing follows one
			o.over = true
			close(o.gone)
		}
	}
	return nil
}

// load makes left of what is next: control frames, or packets from the queue if the socket takes them; full is that
// it does not.
func (o *output) load() (some, full bool, err error) {
	if frames := o.takeUrgent(); len(frames) > 0 {
		return true, false, o.give(net.Buffers{frames})
	}
	if o.closed.Load() || o.spoiled.Load() || o.queue == nil || o.queue.Len() == 0 {
		return false, false, nil
	}
	if ready, err := o.wire.writable(); err != nil || !ready {
		return false, err == nil, err
	}
	o.adapt()
	o.queue.Pop(&o.batch, o.budget())
	o.count = o.batch.Len()
	if o.count == 0 {
		return false, false, nil
	}
	return true, false, o.put()
}

// adapt looks at the path now and then.
func (o *output) adapt() {
	before := o.sock.path
	o.sock.adapt()
	if o.sock.path != before {
		o.fit()
	}
}

// budget returns how many bytes of packets go into one message: few while memory is short, for nothing of a message on its way
// out can be dropped.
func (o *output) budget() int {
	if o.queue.budget.short() {
		return min(o.sock.budget, minBudget)
	}
	return o.sock.budget
}

// hold has the queue's budget charged for what is left, which may be there for long now. While memory is short that is copied to a
// buffer of its size.
func (o *output) hold() {
	if o.queue == nil || o.queue.budget == nil || o.held > 0 {
		return
	}
	if o.queue.budget.short() {
		left := slices.Concat(o.left...)
		o.free()
		o.left = net.Buffers{left}
		o.held = cap(left)
	} else {
		o.held = o.batch.Room()
		if o.frame != nil {
			o.held += cap(o.frame.buf)
		}
		if o.tls != nil {
			o.held += cap(*o.tls)
		}
	}
	o.queue.hold(o.held)
}

// unhold undoes hold.
func (o *output) unhold() {
	if o.held > 0 {
		o.queue.hold(-o.held)
		o.held = 0
	}
}

// fit fits to the path what depends on it.
func (o *output) fit() {
	o.queue.setPath(o.sock.path)
	o.wire.moderation.setPath(o.sock.path)
}

// put makes left of the batch.
func (o *output) put() error {
	o.frame, _ = framePool.Get().(*frame)
	frames := o.frame.build(&o.batch, o)
	if len(o.frame.spans) > 0 { // all of it was copied
		o.batch.Reset()
	}
	return o.give(frames)
}

// give makes left of frames, through TLS if there is any.
func (o *output) give(frames net.Buffers) error {
	if o.wire.under == nil {
		o.left = frames
		return nil
	}
	for _, p := range frames {
		for record := range slices.Chunk(p, o.sock.record) {
			if _, err := o.wire.Write(record); err != nil {
				return err
			}
		}
	}
	o.free() // TLS has made a copy
	o.tls = o.wire.under.take()
	o.left = append(o.left, *o.tls)
	return nil
}

// free gives the buffers back of what has gone out.
func (o *output) free() {
	o.left = o.left[:0]
	o.batch.Reset()
	if o.frame != nil {
		o.frame.free()
		o.frame = nil
	}
	if o.tls != nil {
		if cap(*o.tls) == segmentsRoom {
			segmentsOut.Put(o.tls)
		}
		o.tls = nil
	}
}

// takeUrgent returns the control frames that wait.
func (o *output) takeUrgent() []byte {
	u := &o.urgent
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

// control sends a control frame, or an empty batch, before all batches that wait. Nothing follows a close frame.
func (o *output) control(opcode byte, body []byte) {
	o.urgent.add(opcode, body, o.client)
	o.kick()
}

func (u *urgent) add(opcode byte, body []byte, client bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.closing && (len(u.frames) < maxUrgent || opcode == opClose) {
		u.frames = appendFrame(u.frames, opcode, body, client)
		u.closing = opcode == opClose
		u.some.Store(true)
	}
}

// write sends a batch, or a control message, and waits until the socket has taken it. Nobody else is sending: before Run.
func (o *output) write(load func() error) error {
	err := o.writeAll(load)
	o.kick() // a close frame may have come in between
	return err
}

func (o *output) writeAll(load func() error) (err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	defer defect.Catch(&err)
	err = load()
	for err == nil && len(o.left) > 0 {
		if err = o.wire.waitWritable(); err == nil {
			err = o.flush()
		}
	}
	return err
}
