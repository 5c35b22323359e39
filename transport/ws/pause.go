package ws

import "time"

// How a client is read that takes nothing of what waits for it: after stuckAfter, up to stuckRoom
// bytes each stuckPause. Within stuckStep it is noticed that it reads again.
const (
	stuckAfter = time.Second
	stuckPause = 400 * time.Millisecond
	stuckStep  = 20 * time.Millisecond
	stuckRoom  = 8 << 10
)

// pause waits before a client is read that reads nothing itself: each of its packets costs time of
// a processor that others need, and the answers are dropped. TCP then holds it back. It is still
// read slowly, for it may be busy writing first.
func (in *input) pause() {
	in.turn.Bound(0)
	if !in.masked || in.stuck() < stuckAfter || in.wire.Unread() {
		return
	}
	in.shrink()
	in.charge()
	end := time.Now().Add(stuckPause)
	for in.stuck() >= stuckAfter && time.Now().Before(end) && !in.wire.Closed() {
		time.Sleep(stuckStep)
	}
	in.refund()
	in.turn.Bound(stuckRoom)
}
