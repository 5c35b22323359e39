package ws

import (
	"time"

	"golang.org/x/time/rate"

	"tunnel/transport/ws/frame"
)

// How many control frames, and messages without a packet, a peer may send: at the rate for ever,
// and as many as the burst at once, for what a line has held back for a minute may come in one
// piece. Keepalives need one in some seconds.
const (
	controlRate  = 10   // a second
	controlBurst = 2000 // frames
)

// errControlFlood says that a peer sends control frames without end. Each costs a look, and a ping
// an answer, while nothing is carried.
const errControlFlood = frame.Violation("too many control frames")

// controls bounds the control frames of one peer. Make it with newControls.
type controls struct{ bucket *rate.Limiter }

func newControls() controls { return controls{rate.NewLimiter(controlRate, controlBurst)} }

// frame takes note of a control frame that came at now; errControlFlood is one too many.
func (c controls) frame(now time.Time) error {
	if !c.bucket.AllowN(now, 1) {
		return errControlFlood
	}
	return nil
}
