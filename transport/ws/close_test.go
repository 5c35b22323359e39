package ws_test

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/fq"
	"tunnel/transport/ws"
)

// soon is half a second for Close, and what a busy machine adds.
const soon = 1500 * time.Millisecond

// Each side learns why the other has closed.
func TestCloseTold(t *testing.T) {
	client, server := connected(t)
	a := run(t, client, long)
	go server.Close(transport.CodeGoingAway, "the server stops")
	closedWith(t, a.wait(t), transport.CodeGoingAway, "the server stops", true)

	client, server = connected(t)
	b := run(t, server, long)
	go client.Close(transport.CodeNormal, "the client stops")
	closedWith(t, b.wait(t), transport.CodeNormal, "the client stops", true)
}

// Run sends the cause of its context to the peer, and returns it.
func TestRunTellsCause(t *testing.T) {
	replaced := &transport.CloseError{Code: transport.CodeReplaced,
		Reason: "a newer connection resumed the session"}
	for name, test := range map[string]struct {
		cause  error
		code   transport.Code
		reason string
	}{
		"a CloseError":  {replaced, transport.CodeReplaced, "a newer connection resumed"},
		"another error": {errDevice, transport.CodeGoingAway, "stopping"},
		"no error":      {nil, transport.CodeGoingAway, "stopping"},
		"wrapped": {errors.Join(errDevice, replaced), transport.CodeReplaced,
			"a newer connection resumed"},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := connected(t)
			a, b := run(t, client, long), run(t, server, long)
			b.stop(test.cause)
			closedWith(t, a.wait(t), test.code, test.reason, true)
			want := test.cause
			if want == nil {
				want = context.Canceled
			}
			if err := b.wait(t); err != want { //nolint:errorlint // it shall come as it is
				t.Errorf("Run returns %v; want %v", err, want)
			}
		})
	}
}

// A context that ended before.
func TestRunEndedBefore(t *testing.T) {
	client, server := connected(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(&transport.CloseError{Code: transport.CodeGoingAway, Reason: "the server stops"})
	a := run(t, client, long)
	err := server.Run(ctx, fq.NewQueue(queueLimit), long, func(*packet.Batch) error { return nil })
	if err != context.Cause(ctx) { //nolint:errorlint // it shall come as it is
		t.Errorf("got %v", err)
	}
	closedWith(t, a.wait(t), transport.CodeGoingAway, "the server stops", true)
}

// A peer that does not answer the close frame cannot hold Close, nor one that does not even read.
func TestCloseBounded(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for scheme, config := range map[string]*tls.Config{"ws": nil,
		"wss": ca.server(t, "127.0.0.1")} {
		for name, stuck := range map[string]bool{"silent": false, "stuck": true} {
			t.Run(scheme+", "+name, func(t *testing.T) {
				t.Parallel()
				ended := make(chan time.Duration, 1)
				address := accepting(t, config, func(c *ws.Conn) {
					if _, err := c.Requested(t.Context(), packet.Offload{}); err != nil {
						t.Error(err)
					}
					if err := c.Grant(t.Context(), transport.Connect{Framings: []string{"ip"}},
						granted(), packet.Offload{}); err != nil {
						t.Error(err)
					}
					ctx, cancel := context.WithCancel(t.Context())
					queue := fq.NewQueue(queueLimit)
					var began time.Time
					go func() {
						defer cancel()
						if stuck {
							fill(queue)
						}
						began = time.Now()
					}()
					_ = c.Run(ctx, queue, long, func(*packet.Batch) error { return nil })
					ended <- time.Since(began)
				})
				d := dialer(t, scheme+"://"+address)
				d.TLS = ca.client()
				c, err := d.Dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.Request(t.Context(), transport.Connect{},
					packet.Offload{}); err != nil {
					t.Fatal(err)
				}
				// From here on this client neither reads nor writes.
				if took := <-ended; took > soon {
					t.Errorf("closing took %v", took)
				}
				c.Close(transport.CodeNormal, "")
			})
		}
	}
}

// fill pushes packets until the queue has been full for a while: what is before it in the network
// is full as well.
func fill(q *fq.Queue) {
	for full := 0; full < 100; {
		before := dropped(q)
		push(q, ipPacket(1, 1, 60000))
		if dropped(q) == before {
			full = 0
			continue
		}
		full++
		time.Sleep(time.Millisecond)
	}
}

// However long the reason is, the peer gets what a frame can hold of it.
func TestCloseLongReason(t *testing.T) {
	for name, reason := range map[string]string{"ASCII": strings.Repeat("x", 200),
		"UTF-8": strings.Repeat("ü", 100), "odd UTF-8": "x" + strings.Repeat("ü", 100)} {
		client, server := connected(t)
		a := run(t, client, long)
		go server.Close(transport.CodeInternal, reason)
		var closed *transport.CloseError
		if err := a.wait(t); !errors.As(err, &closed) || closed.Code != transport.CodeInternal ||
			len(closed.Reason) < 120 || !strings.HasPrefix(reason, closed.Reason) ||
			!utf8.ValidString(closed.Reason) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Closing twice, from several goroutines, does no harm.
func TestCloseTwice(t *testing.T) {
	client, server := connected(t)
	a := run(t, client, long)
	for range 3 {
		go server.Close(transport.CodeNormal, "once")
	}
	closedWith(t, a.wait(t), transport.CodeNormal, "once", true)
	server.Close(transport.CodeInternal, "again")
}
