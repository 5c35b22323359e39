package ws

import (
	"time"

	"golang.org/x/time/rate"

	"tunnel/transport/ws/frame"
)

// The rate and burst of control frames, and messages without a packet, that a peer may send. The
// burst is large because frames that a path has delayed for a minute may arrive at once. Keepalives
// need one frame in some seconds.
const (
	controlRate  = 10   // a second
	controlBurst = 2000 // frames
)

// errControlFlood is the violation of a peer that exceeds controlRate. Each frame takes time, and a
// ping an answer, without carrying a packet.
const errControlFlood = frame.Violation("too many control frames")

// controls limits the control frames of one peer. It is made with newControls.
type controls struct{ bucket *rate.Limiter }

func newControls() controls { return controls{rate.NewLimiter(controlRate, controlBurst)} }

// frame counts a control frame that arrived at now; it returns errControlFlood above the limit.
func (c controls) frame(now time.Time) error {
	if !c.bucket.AllowN(now, 1) {
		return errControlFlood
	}
	return nil
}
