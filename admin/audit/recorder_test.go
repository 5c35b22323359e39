package audit

import (
	"context"
	"log/slog"
	"testing"
)

// The hub's end is last, however many entries wait and were left out: --on-down hangs on it.
func TestStopped(t *testing.T) {
	var c collected
	runTo(t, &c, func(r *Recorder) {
		for range oneRefusedBurst + 1 {
			r.Record(Entry{Event: Refused, Reason: "token", Remote: "198.51.100.2:5"})
		}
		for range maxQueue {
			r.Record(Entry{Event: SessionStarted})
		}
		r.Record(Entry{Event: HubStopped})
	})
	if last := c.all[len(c.all)-1]; last.Event != HubStopped {
		t.Errorf("the last of %d is %+v", len(c.all), last)
	}
	c = collected{}
	runTo(t, &c, func(r *Recorder) {
		for range oneRefusedBurst + 1 {
			r.Record(Entry{Event: Refused, Reason: "token", Remote: "198.51.100.2:5"})
		}
		r.Record(Entry{Event: HubStopped})
	})
	n := len(c.all)
	if n < 2 || c.all[n-1].Event != HubStopped || c.all[n-2].Event != RefusedOmitted {
		t.Errorf("%+v", c.all)
	}
}

// A batch that is being passed on when the hub ends is not broken off: nobody knew what of it was
// written.
func TestNotBrokenOff(t *testing.T) {
	var r *Recorder
	ctx, cancel := context.WithCancel(t.Context())
	sent, lost := 0, uint64(0)
	r = NewRecorder("tun0", func(ctx context.Context, all []Entry) error {
		for _, e := range all {
			lost += e.Lost
		}
		cancel()
		if sent += len(all); ctx.Err() != nil {
			return ctx.Err()
		}
		return nil
	}, slog.New(slog.DiscardHandler))
	r.Record(Entry{Event: Kicked})
	r.Run(ctx)
	if lost += r.lost; sent != 1 || lost != 0 {
		t.Errorf("%d sent, %d lost", sent, lost)
	}
}
