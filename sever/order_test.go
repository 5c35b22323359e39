package sever_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"tunnel/sever"
)

// onePart is a context that ends when the first of the two parts of Networks is over: each asks at
// its beginning whether it has ended.
type onePart struct{ asked int }

func (*onePart) Deadline() (time.Time, bool) { return time.Time{}, false }
func (*onePart) Done() <-chan struct{}       { return nil }
func (*onePart) Value(any) any               { return nil }

func (c *onePart) Err() error {
	if c.asked++; c.asked > 1 {
		return context.Canceled
	}
	return nil
}

// What this machine forwards ends first: if there is no time for the sockets, however many there
// are, the tracked connections of the former client are gone.
func TestTrackedFirst(t *testing.T) {
	machine(t)
	l := listen(t, "10.1.1.1:0")
	near, _ := connect(t, "10.1.1.3", l, "10.1.1.1")
	var ctx onePart
	r, err := sever.Networks(&ctx, single(netip.MustParseAddr("10.1.1.3")))
	if !errors.Is(err, context.Canceled) || ctx.asked < 2 {
		t.Fatalf("asked %d times whether it has ended, %v", ctx.asked, err)
	}
	if r.Conntrack == 0 || r.TCP != 0 {
		t.Errorf("%+v; want tracked connections only", r)
	}
	if _, err := near.Write([]byte("x")); err != nil {
		t.Errorf("the socket: %v", err)
	}
}
