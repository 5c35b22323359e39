package control_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"tunnel/admin/status"
	"tunnel/control"
	"tunnel/transport/fq/meter"
)

// asked is a client that is asked.
type asked struct {
	status func() status.Client
	flows  func(context.Context, time.Duration) (status.Flows, error)
}

func (a asked) Status() status.Client { return a.status() }

func (a asked) Flows(ctx context.Context, d time.Duration) (status.Flows, error) {
	return a.flows(ctx, d)
}

// A hub measures for as long as it is asked to, within bounds.
func TestFlows(t *testing.T) {
	dir := t.TempDir()
	c := control.NewClient(dir)
	if _, err := c.Flows(t.Context(), time.Second); !errors.Is(err, control.ErrNoServer) {
		t.Errorf("nobody is there: %v", err)
	}
	start(t, dir)
	flows, err := c.Flows(t.Context(), control.LeastMeasured)
	if err != nil || flows.Seconds < control.LeastMeasured.Seconds() || flows.Flows == nil {
		t.Errorf("%+v, %v", flows, err)
	}
	for _, wrong := range []time.Duration{-time.Second, 0, control.LeastMeasured - 1,
		control.MostMeasured + 1} {
		if _, err := c.Flows(t.Context(), wrong); !errors.Is(err, control.ErrRefused) {
			t.Errorf("for %v: %v", wrong, err)
		}
	}
}

// A measurement ends when nobody waits for it any more, and one that cannot begin says why.
func TestClientFlows(t *testing.T) {
	dir := t.TempDir()
	if _, err := control.ClientFlows(t.Context(), dir, "j", time.Second); !errors.Is(err,
		control.ErrNoClient) {
		t.Errorf("nobody is there: %v", err)
	}
	begun, ended := make(chan struct{}), make(chan struct{})
	client := asked{flows: func(ctx context.Context, d time.Duration) (status.Flows, error) {
		if d == time.Second {
			return status.Flows{}, meter.ErrBusy
		}
		close(begun)
		<-ctx.Done()
		close(ended)
		return status.Flows{}, ctx.Err()
	}}
	ln, err := control.ListenClient(dir, "j")
	if err != nil {
		t.Fatal(err)
	}
	serveAsked(t, ln, client)
	if _, err := control.ClientFlows(t.Context(), dir, "j", time.Second); !errors.Is(err,
		meter.ErrBusy) {
		t.Errorf("too many measure: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	if _, err := control.ClientFlows(ctx, dir, "j", 2*time.Second); !errors.Is(err,
		context.Canceled) {
		t.Errorf("nobody waits: %v", err)
	}
	<-ended
}

// serveAsked serves a client's control socket until the test ends.
func serveAsked(t *testing.T, ln net.Listener, client control.Asked) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		control.ServeClient(ctx, ln, client, control.Reloads{}, slog.New(slog.DiscardHandler))
	})
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
}
