package ws_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/ws"
)

// The exchange of connect and connected, from both sides.
func TestConnect(t *testing.T) {
	client, server := pair(t)
	if client.State() != transport.StateInit || server.State() != transport.StateInit {
		t.Error("connected before connect")
	}
	requests := make(chan transport.Connect, 1)
	go func() {
		m, err := server.Requested(t.Context(), packet.Offload{})
		if err == nil {
			err = server.Grant(t.Context(), transport.Connect{Framings: []string{"ip"}}, granted(),
				packet.Offload{})
		}
		if err != nil {
			t.Error(err)
		}
		requests <- m
	}()
	link, err := client.Request(t.Context(), transport.Connect{Address: "10.1.1.9", Session: "old"},
		packet.Offload{})
	if err != nil {
		t.Fatal(err)
	}
	want := transport.Link{
		Address: netip.MustParseAddr("10.1.1.3"), Peer: netip.MustParseAddr("10.1.1.4"),
		Network: netip.MustParsePrefix("10.1.1.0/24"),
		MTU:     1400, Qlen: 100, Keepalive: 20 * time.Second, Session: "secret", Lanes: 1,
	}
	if link != want {
		t.Errorf("link %+v; want %+v", link, want)
	}
	m := <-requests
	if m.Wanted() != netip.MustParseAddr("10.1.1.9") || m.Session != "old" ||
		m.Version != transport.Version {
		t.Errorf("the server got %+v", m)
	}
	if client.State() != transport.StateConnected || server.State() != transport.StateConnected {
		t.Error("not connected after connected")
	}
}

// A violation before connected ends that connection only, with a reason.
func TestRequestedRefuses(t *testing.T) {
	results := make(chan error, 1)
	address := accepting(t, nil, func(c *ws.Conn) {
		_, err := c.Requested(t.Context(), packet.Offload{})
		results <- err
		if err == nil {
			c.Close(transport.CodeNormal, "fine")
		}
	})
	for name, test := range map[string]struct {
		send func(*raw)
		want string
	}{
		"unknown " +
			"state": {func(r *raw) { r.text(`{"state":"hello","version":1,"framings":["ip"]}`) },
			"unknown state"},
		"connected": {func(r *raw) { r.text(connectedText) }, "unknown state"},
		"no state":  {func(r *raw) { r.text(`{}`) }, "unknown state"},
		"null":      {func(r *raw) { r.text(`null`) }, "unknown state"},
		"no JSON":   {func(r *raw) { r.text(`{"state":`) }, "malformed control message"},
		"empty":     {func(r *raw) { r.text(``) }, "malformed control message"},
		"a list":    {func(r *raw) { r.text(`["connect"]`) }, "malformed control message"},
		"a wrong " +
			"type": {func(r *raw) { r.text(`{"state":"connect","version":"1","framings":["ip"]}`) },
			"malformed control message"},
		"two values": {func(r *raw) { r.text(connectText + connectText) },
			"malformed control message"},
		"deep": {func(r *raw) { r.text(strings.Repeat(`[`, 16000)) },
			"malformed control message"},
		"too long": {func(r *raw) { r.text(connectText + strings.Repeat(" ", 16<<10)) },
			"control message too long"},
		"much too long": {func(r *raw) { r.text(connectText + strings.Repeat(" ", 1<<20)) },
			"control message too long"},
		"another version": {
			func(r *raw) { r.text(`{"state":"connect","version":2,"framings":["ip"]}`) },
			"version 2 is not spoken here",
		},
		"no version": {func(r *raw) { r.text(`{"state":"connect","framings":["ip"]}`) },
			"version 0 is not spoken here"},
		"no framing": {func(r *raw) { r.text(`{"state":"connect","version":1}`) },
			"no framing in common"},
		"unknown " +
			"framing": {
			func(r *raw) { r.text(`{"state":"connect","version":1,"framings":["pigeon"]}`) },
			"no framing in common"},
		"a lane below 0": {
			func(r *raw) {
				r.text(
					`{"state":"connect","version":1,"framings":["ip"],"session":"s","lane":-1}`)
			},
			"a lane is one of a session",
		},
		"a lane of nothing": {
			func(r *raw) { r.text(`{"state":"connect","version":1,"framings":["ip"],"lane":1}`) },
			"a lane is one of a session",
		},
		"a batch":     {func(r *raw) { r.binary(ipPacket(1, 1, 60)) }, "a batch before connected"},
		"a heartbeat": {func(r *raw) { r.binary(nil) }, "a batch before connected"},
	} {
		t.Run(name, func(t *testing.T) {
			r := dialRaw(t, address)
			test.send(r)
			code, reason := r.closed()
			if code != transport.CodeProtocol || !strings.HasPrefix(reason, test.want) {
				t.Errorf("told %d, %q; want %q", code, reason, test.want)
			}
			closedWith(t, <-results, transport.CodeProtocol, test.want, false)
		})
	}
	r := dialRaw(t, address)
	r.text(connectText)
	if code, reason := r.closed(); code != transport.CodeNormal || reason != "fine" {
		t.Errorf("after them all a good one is told %d, %q", code, reason)
	}
	if err := <-results; err != nil {
		t.Error(err)
	}
}

// The same for what a server may answer.
func TestRequestRefuses(t *testing.T) {
	wrong := func(old, new string) string { return strings.Replace(connectedText, old, new, 1) }
	for name, test := range map[string]struct {
		send func(*raw)
		want string
	}{
		"unknown state": {func(r *raw) { r.text(`{"state":"welcome"}`) }, "unknown state"},
		"connect":       {func(r *raw) { r.text(connectText) }, "unknown state"},
		"another version": {func(r *raw) { r.text(wrong(`"version":1`, `"version":2`)) },
			"version 2 is not spoken here"},
		"no JSON": {func(r *raw) { r.text(`connected`) }, "malformed control message"},
		"a wrong type": {func(r *raw) { r.text(wrong(`1400`, `"1400"`)) },
			"malformed control message"},
		"too long": {func(r *raw) { r.text(connectedText + strings.Repeat(" ", 16<<10)) },
			"control message too long"},
		"a batch": {func(r *raw) { r.binary(ipPacket(1, 1, 60)) },
			"a batch before connected"},
		"a bad address": {func(r *raw) { r.text(wrong(`10.1.1.3`, `10.1.1`)) },
			"unusable connected: address"},
		"a bad mtu": {func(r *raw) { r.text(wrong(`1400`, `20`)) },
			"unusable connected: mtu 20"},
		"a framing that was not offered": {
			func(r *raw) { r.text(wrong(`"framing":"ip"`, `"framing":"pigeon"`)) },
			`framing "pigeon" was not offered`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			address := serveRaw(t, func(r *raw) {
				r.until(opText)
				test.send(r)
				code, reason := r.closed()
				if code != transport.CodeProtocol || !strings.HasPrefix(reason, test.want) {
					t.Errorf("told %d, %q; want %q", code, reason, test.want)
				}
			})
			c, err := dialer(t, "ws://"+address).Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Request(t.Context(), transport.Connect{}, packet.Offload{})
			closedWith(t, err, transport.CodeProtocol, test.want, false)
			if c.State() != transport.StateInit {
				t.Error("connected nevertheless")
			}
		})
	}
}

// An answer of the server other than connected reaches the caller.
func TestRequestTold(t *testing.T) {
	address := serveRaw(t, func(r *raw) {
		r.until(opText)
		r.close(transport.CodeNoAddress, "no free address pair in 10.1.1.0/29")
	})
	c, err := dialer(t, "ws://"+address).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Request(t.Context(), transport.Connect{}, packet.Offload{})
	closedWith(t, err, transport.CodeNoAddress, "no free address pair in 10.1.1.0/29", true)
	c.Close(transport.CodeNormal, "")
}

func TestRequestHungUp(t *testing.T) {
	address := serveRaw(t, func(r *raw) { r.until(opText) })
	c, err := dialer(t, "ws://"+address).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.Request(t.Context(), transport.Connect{}, packet.Offload{}); !errors.Is(err,
		transport.ErrHungUp) {
		t.Errorf("got %v", err)
	}
	c.Close(transport.CodeNormal, "")
}

// A silent peer is closed with a reason when the context ends.
func TestRequestedTimeout(t *testing.T) {
	for name, test := range map[string]struct {
		bound  func(context.Context) (context.Context, context.CancelFunc)
		err    error
		code   transport.Code
		reason string
	}{
		"too late": {
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, 50*time.Millisecond)
			},
			context.DeadlineExceeded, transport.CodeGoingAway, "no control message in time",
		},
		"stopped": {
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancelCause(ctx)
				time.AfterFunc(50*time.Millisecond, func() { cancel(errStopped) })
				return ctx, func() { cancel(nil) }
			}, errStopped, transport.CodeInternal, "stopped by the test",
		},
	} {
		t.Run(name, func(t *testing.T) {
			failed := make(chan error, 1)
			address := accepting(t, nil, func(c *ws.Conn) {
				ctx, cancel := test.bound(t.Context())
				defer cancel()
				_, err := c.Requested(ctx, packet.Offload{})
				failed <- err
				c.Close(transport.CodeNormal, "not told, for it is closed")
			})
			code, reason := dialRaw(t, address).closed()
			if err := <-failed; !errors.Is(err, test.err) || code != test.code ||
				reason != test.reason {
				t.Errorf("%v; told %d, %q", err, code, reason)
			}
		})
	}
}

var errStopped = &transport.CloseError{Code: transport.CodeInternal, Reason: "stopped by the test"}

// Fields that this version does not know are how the protocol grows.
func TestUnknownFieldsIgnored(t *testing.T) {
	const more = `"added_in_2031":{"x":[1,null,"y"]},"state":`
	address := serveRaw(t, func(r *raw) {
		r.until(opText)
		r.text(strings.Replace(connectedText, `"state":`, more, 1))
		r.closed()
	})
	c, err := dialer(t, "ws://"+address).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if link, err := c.Request(t.Context(), transport.Connect{}, packet.Offload{}); err != nil ||
		link.MTU != 1400 {
		t.Errorf("got %+v, %v", link, err)
	}
	c.Close(transport.CodeNormal, "")

	address = accepting(t, nil, func(c *ws.Conn) {
		if _, err := c.Requested(t.Context(), packet.Offload{}); err != nil {
			t.Error(err)
		}
		c.Close(transport.CodeNormal, "fine")
	})
	r := dialRaw(t, address)
	r.text(strings.Replace(connectText, `"state":`, more, 1))
	r.closed()
}
