package privsep_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"tunnel/privsep"
	"tunnel/supervisor"
)

// TestTell has a worker tell how it is. That it is alive counts only if it was asked.
func TestTell(t *testing.T) {
	h := newHost(t)
	tell := func(id, state string) string {
		return `{"id":` + id + `,"kind":"tell","name":"` + state + `"}`
	}
	code, _, err := run(t, h, "sends", tell("1", "connected"), tell("2", "alive"),
		tell("3", "disconnected"))
	want := []supervisor.State{supervisor.Connected, supervisor.Disconnected}
	slices.Sort(h.told) // requests are served at the same time
	if code != workerCode || err != nil || !slices.Equal(h.told, want) {
		t.Errorf("%d, %v, told %q; want %q", code, err, h.told, want)
	}
	// Nothing but a state reaches the service manager, where a line may be another variable.
	h = newHost(t)
	code, _, err = run(t, h, "sends", tell("1", `alive\nMAINPID=1`))
	if code != 1 || err == nil || len(h.told) > 0 {
		t.Errorf("%d, %v, told %q", code, err, h.told)
	}
}

// TestWatch asks a worker that answers, as long as the check of that worker returns, and one that
// does not.
func TestWatch(t *testing.T) {
	for behavior, want := range map[string]int{"alive": 3, "stuck": 0} {
		t.Run(behavior, func(t *testing.T) {
			h := newHost(t)
			t.Setenv(behaviorVariable, behavior)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			parent := privsep.New(h, slog.New(slog.DiscardHandler))
			parent.Watch = 20 * time.Millisecond
			code, err := parent.Run(ctx, nil)
			if code != workerCode || err != nil {
				t.Fatalf("%d, %v", code, err)
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if slices.ContainsFunc(h.told, func(s supervisor.State) bool { return s != supervisor.Alive }) ||
				len(h.told) < want || want == 0 && len(h.told) > 0 {
				t.Errorf("told %q", h.told)
			}
		})
	}
}

// beWatched is a worker that is asked whether it is alive. It ends after some answers; one that is
// stuck answers none, and ends after it was asked.
func beWatched(stuck bool) int {
	worker, err := privsep.Inherit(func(error) {})
	if err != nil {
		return 1
	}
	asked := make(chan struct{}, 100)
	worker.OnAsk(func() {
		asked <- struct{}{}
		if stuck {
			select {}
		}
	})
	<-asked
	for range 3 {
		if stuck {
			time.Sleep(50 * time.Millisecond) // long enough to be asked again
			continue
		}
		<-asked // the answer before was taken
	}
	return privsep.ExitCode(workerCode)
}
