package ws

import "time"

// A client that has read nothing for stuckAfter, while packets wait for it, is read by at most
// stuckRoom bytes each stuckPause. stuckStep is how often pause checks whether it reads again.
const (
	stuckAfter = time.Second
	stuckPause = time.Second
	stuckStep  = 250 * time.Millisecond
	stuckRoom  = 8 << 10
)

// pause delays the next read from a client that reads nothing itself: its packets take processor
// time that others need, and the answers to them are dropped. TCP then slows the client down, once
// what has arrived is read, and the kernel holds little for it. It is still read slowly, because a
// client may have to finish writing before it reads.
func (in *input) pause() {
	in.turn.Bound(0)
	switch {
	case !in.masked || in.stuck() < stuckAfter:
		in.wire.Widen()
		return
	case in.wire.Narrow() > 0, in.wire.Ready():
		return
	}
	in.wire.Shrink()
	in.shrink()
	in.charge()
	end := time.Now().Add(stuckPause)
	for in.stuck() >= stuckAfter && time.Now().Before(end) && !in.wire.Closed() {
		time.Sleep(stuckStep)
	}
	in.refund()
	in.turn.Bound(stuckRoom)
}

// note records whether the socket would block, for stuck.
func (o *output) note(full bool) {
	if full {
		o.full.CompareAndSwap(0, int64(o.wire.Age()))
	} else {
		o.full.Store(0)
	}
}

// stuck returns for how long the socket has taken nothing although bytes wait; 0 if none wait.
func (o *output) stuck() time.Duration {
	since := o.full.Load()
	if since == 0 {
		return 0
	}
	return o.wire.Age() - time.Duration(max(since, o.sent.Load()))
}
