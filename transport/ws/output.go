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

// output sends the frames of a connection. The producer sends on its own goroutine as long as the
// socket takes frames at once, because waking another goroutine costs more than a packet. When the
// socket would block, the goroutine of resume waits for it and sends the rest. After start, no
// producer blocks here.
type output struct {
	wire    *tcp.Conn
	form    frame.Form     // the form of frames that the peer expects
	queue   *fq.Queue      // the queue of Run; nil before
	failed  func(error)    // called, perhaps repeatedly, when the connection is unusable
	resumes sync.WaitGroup // the goroutines of resume

	waiting atomic.Bool  // a goroutine of resume waits for the socket
	closed  atomic.Bool  // the close frame is being sent: nothing may follow it
	spoiled atomic.Bool  // drain has met a defect: no packet may be sent
	sent    atomic.Int64 // time of the last write, nanoseconds of wire.Age
	full    atomic.Int64 // time since which the socket would block, as sent; 0 if it takes bytes

	mu    sync.Mutex // held while sending; guards all below but controls
	tuner *tcp.Tuner
	batch packet.Batch  // the packets that are being sent
	frame *frame.Buffer // the frames of batch; nil for none
	tls   *[]byte       // the TLS records of the frames; nil for none
	text  []byte        // control frames and an update; nil for none
	left  net.Buffers   // the bytes that the socket has not taken yet
	count int           // the number of packets in left
	// bytes charged to the queue's budget for these buffers, while the socket would block
	held int
	over bool // nothing can be sent any more

	controls controlQueue
	gone     chan struct{} // closed when the close frame was written
}

// controlQueue holds control frames, which are sent before any batch.
type controlQueue struct {
	some    atomic.Bool
	mu      sync.Mutex
	frames  []byte
	closing bool   // the last frame is a close frame
	update  []byte // the message that is sent after frames; nil for none
}

// maxControlQueue bounds the waiting control frames, in bytes: a peer that pings and does not read
// gets no more pongs.
const maxControlQueue = 4 << 10

// start makes o send the packets of q, and call failed when the connection is unusable.
func (o *output) start(q *fq.Queue, keepalive time.Duration, failed func(error)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue, o.failed = q, failed
	o.tuner.Start(keepalive, q.Allowance())
	o.apply()
	o.sent.Store(int64(o.wire.Age()))
}

// Flush sends the waiting frames and packets. It returns at once while another goroutine sends;
// that goroutine then also sends what the caller has queued.
func (o *output) Flush() {
	for o.Due() && o.mu.TryLock() {
		full, err := o.drain()
		if full {
			o.note(true)
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

// drain sends until nothing waits or the socket would block, which full reports. It may run on the
// goroutine of another peer, or of the device: a panic in it is an error of this connection alone.
// The caller holds mu.
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

// next puts into left the next bytes to send: control frames, or packets of the queue if the socket
// is writable. some reports that there are any, full that the socket would block. The caller holds
// mu, as for all functions from here to refund.
func (o *output) next() (some, full bool, err error) {
	if o.text = o.takeControls(); len(o.text) > 0 {
		return true, false, o.encode(net.Buffers{o.text})
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

// takeControls removes and returns the waiting control frames, with the update behind them.
func (o *output) takeControls() []byte {
	u := &o.controls
	if !u.some.Load() {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	frames := u.frames
	if u.update != nil && !u.closing {
		frames = frame.Append(frames, frame.OpText, u.update, o.form.Client)
	}
	u.frames, u.update = nil, nil
	u.some.Store(false)
	o.closed.Store(u.closing)
	return frames
}

// budget returns the maximum bytes of packets in one message: less while memory is short, because
// packets in a message can no longer be dropped.
func (o *output) budget() int {
	if o.queue.Short() {
		return min(o.tuner.Message, tcp.MinMessage)
	}
	return o.tuner.Message
}

// apply applies the settings of the tuner that concern the queue and the reader.
func (o *output) apply() {
	o.queue.SetCoDel(o.tuner.Target, o.tuner.Interval)
	o.wire.Coalesce(o.tuner.Coalesce)
}

// put puts the frames of batch into left.
func (o *output) put() error {
	o.frame = frame.New()
	frames := o.frame.Build(&o.batch, o.form)
	if o.frame.Copied() {
		o.batch.Reset()
	}
	return o.encode(frames)
}

// encode puts frames into left, with TLS as records.
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
	o.free() // TLS has copied the frames
	o.tls = o.wire.Take()
	o.left = append(o.left, *o.tls)
	return nil
}

// writeLeft writes as much of left as the socket takes. The caller holds mu.
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
		if o.closed.Load() && !o.over { // the close frame was the last frame in left
			o.over = true
			close(o.gone)
		}
	}
	return nil
}

// free returns the buffers of left to their pools.
func (o *output) free() {
	o.left, o.text = o.left[:0], nil
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

// charge charges the queue's budget for the buffers of left before the socket blocks. While memory
// is short it first copies left to a buffer of its size.
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
		o.held = o.batch.Room() + cap(o.text)
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

// resume waits for the socket and continues to send.
func (o *output) resume() {
	for full := true; full; {
		err := o.wire.WaitWritable()
		if err == nil {
			o.mu.Lock()
			full, err = o.drain()
			o.note(full)
			o.waiting.Store(full)
			o.mu.Unlock()
		}
		if err != nil { // waiting stays set: nothing can be sent any more
			o.failed(err)
			return
		}
	}
	o.Flush() // packets that were queued in between
}

// spoil discards the packets that drain was sending when it met a defect. A close frame may follow
// unless a part of a frame, or of a TLS record, was written. The buffers are left to the garbage
// collector, because other references to them may exist. The caller holds mu.
func (o *output) spoil() {
	o.spoiled.Store(true)
	half := len(o.left) > 0 || o.wire.Take() != nil
	o.batch, o.frame, o.tls, o.text, o.left = packet.Batch{}, nil, nil, nil, nil
	if half {
		o.closed.Store(true)
		o.over = true
		_ = o.wire.Close()
	}
}

// control sends a control frame, or an empty batch, before all waiting batches. Nothing is sent
// after a close frame.
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

// write sends a batch, or a control message, and waits until the socket has taken it. It must not
// be called after start.
func (o *output) write(encode func() error) error {
	err := o.writeAll(encode)
	o.Flush() // a close frame may have been queued in between
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

// idle returns the time since the last write.
func (o *output) idle() time.Duration {
	return o.wire.Age() - time.Duration(o.sent.Load())
}

// Drained implements fq.Sink.
func (o *output) Drained(ago time.Duration) bool {
	return (!o.waiting.Load() || o.idle() < ago) && o.tuner.Drained(ago)
}

// Fail ends the connection.
func (o *output) Fail(err error) { o.failed(err) }

// finish releases all buffers and waits for resume. The connection is closed already.
func (o *output) finish() {
	o.closed.Store(true)
	o.mu.Lock()
	o.over = true // whether or not the close frame was written
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
