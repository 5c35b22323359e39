package refusal

import (
	"fmt"
	"testing"
	"time"

	"tunnel/transport"
)

// A server that wants a client to stay away for long is left alone for that time, on any path; a
// restart, which is short, is not its own affair.
func TestAway(t *testing.T) {
	now := time.Now()
	for after, want := range map[time.Duration]time.Duration{
		10 * time.Minute: 10 * time.Minute, transport.MaxKick: transport.MaxKick,
		time.Minute: 0, 0: 0, transport.MaxKick + time.Second: 0,
	} {
		closed := transport.Kick(after)
		closed.Remote = true
		var d Doubt
		d.Note(fmt.Errorf("the session: %w", closed), now)
		d.Rouse()
		if got := max(d.Until.Sub(now), 0); got != want {
			t.Errorf("asked to stay away for %v, it does for %v, want %v", after, got, want)
		}
	}
}
