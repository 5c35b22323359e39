package ws_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/ws"
)

// numbered returns an update with that many routes.
func numbered(serial uint64, routes int) transport.Update {
	u := transport.Update{Serial: serial}
	for i := range routes {
		a := netip.MustParseAddr("fd00:1111:2222:3333:4444:5555:6666:0").As16()
		a[14], a[15] = byte(i>>8), byte(i)
		u.Routes = append(u.Routes, netip.PrefixFrom(netip.AddrFrom16(a), 128))
	}
	return u
}

// updates are what a client is told.
type updates chan transport.Update

func (u updates) next(t *testing.T) transport.Update {
	t.Helper()
	select {
	case got := <-u:
		return got
	case <-time.After(patience):
		t.Fatal("no update")
		return transport.Update{}
	}
}

// Updates of any length pass between batches, with TLS and without, and the last one always
// arrives.
func TestUpdates(t *testing.T) {
	ca := newAuthority(t)
	for name, config := range map[string]*tls.Config{"plain": nil, "TLS": ca.server(t, "127.0.0.1")} {
		t.Run(name, func(t *testing.T) {
			accepted := make(chan *ws.Conn, 1)
			ended := make(chan struct{})
			address := accepting(t, config, func(c *ws.Conn) {
				request, err := c.Requested(t.Context(), packet.Offload{})
				if err == nil && !request.TakesUpdates() {
					err = errors.New("the client does not say that it takes updates")
				}
				if err == nil {
					err = c.Grant(t.Context(), request, granted(), packet.Offload{})
				}
				// Before Run, as the first one is.
				if err := errors.Join(err, c.Tell(numbered(1, 3))); err != nil {
					t.Error(err)
				}
				accepted <- c
				<-ended
			})
			defer close(ended)
			scheme := "ws://"
			if config != nil {
				scheme = "wss://"
			}
			d := dialer(t, scheme+address)
			d.TLS = ca.client()
			client, err := d.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			told := make(updates, 100)
			client.OnUpdate(func(u transport.Update) { told <- u })
			if _, err := client.Request(t.Context(), transport.Connect{}, packet.Offload{}); err != nil {
				t.Fatal(err)
			}
			server := <-accepted
			a, b := run(t, client, long), run(t, server, long)
			if got := told.next(t); !got.Equal(numbered(1, 3)) || got.Serial != 1 {
				t.Errorf("%+v", got)
			}
			const last = 20
			for i := uint64(2); i <= last; i++ {
				push(b.queue, ipPacket(1, uint32(i), 1000))
				if err := server.Tell(numbered(i, transport.MaxRoutes)); err != nil {
					t.Fatal(err)
				}
				push(b.queue, ipPacket(1, uint32(i), 1000))
			}
			a.receive(t, 2*(last-1))
			before := uint64(1)
			for before < last {
				got := told.next(t)
				if got.Serial <= before || !got.Equal(numbered(got.Serial, transport.MaxRoutes)) {
					t.Fatalf("serial %d with %d routes after %d", got.Serial, len(got.Routes), before)
				}
				before = got.Serial
			}
			if err := server.Tell(numbered(0, 0)); err == nil {
				t.Error("an update without a serial was sent")
			}
		})
	}
}

// What is no update, or is too much, closes the connection.
func TestBadUpdates(t *testing.T) {
	const good = `{"state":"update","serial":1}`
	for name, test := range map[string]struct {
		deaf   bool // the client takes no updates
		speak  func(*raw)
		reason string
	}{
		"not asked for": {true, func(r *raw) { r.text(good) }, "unknown state"},
		"another state": {false, func(r *raw) { r.text(connectedText) }, "unknown state"},
		"host bits": {false, func(r *raw) {
			r.text(`{"state":"update","serial":1,"routes":["10.2.0.1/16"]}`)
		}, "update: routes"},
		"no JSON": {false, func(r *raw) { r.text("{") }, "malformed control message"},
		"too long": {false, func(r *raw) {
			r.text(good + strings.Repeat(" ", transport.MaxUpdate))
		}, "update too long"},
		"too long in fragments": {false, func(r *raw) {
			r.frame(opText, []byte(good))
			for range 5 {
				r.frame(opContinuation, []byte(strings.Repeat(" ", transport.MaxUpdate/4)))
			}
		}, "update too long"},
		"without end": {false, func(r *raw) {
			for i := range 3000 {
				r.text(fmt.Sprintf(`{"state":"update","serial":%d}`, i+1))
			}
		}, "too many control frames"},
		"from the client's side": {},
	} {
		t.Run(name, func(t *testing.T) {
			if test.speak == nil { // to a server, which takes none
				r, c := connectRaw(t)
				r.text(good)
				code, reason := r.closed()
				if code != transport.CodeProtocol || !strings.HasPrefix(reason, "unknown state") {
					t.Errorf("%d %q", code, reason)
				}
				closedWith(t, <-c, transport.CodeProtocol, "unknown state", false)
				return
			}
			address := serveRaw(t, func(r *raw) {
				r.until(opText)
				r.text(connectedText)
				test.speak(r)
				code, reason := r.closed()
				if code != transport.CodeProtocol || !strings.HasPrefix(reason, test.reason) {
					t.Errorf("%d %q; want %q", code, reason, test.reason)
				}
			})
			c, err := dialer(t, "ws://"+address).Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !test.deaf {
				c.OnUpdate(func(transport.Update) {})
			}
			if _, err := c.Request(t.Context(), transport.Connect{}, packet.Offload{}); err != nil {
				t.Fatal(err)
			}
			closedWith(t, run(t, c, long).wait(t), transport.CodeProtocol, test.reason, false)
		})
	}
}

// connectRaw returns a client that is connected, and the error of the server's Run.
func connectRaw(t *testing.T) (*raw, <-chan error) {
	t.Helper()
	ended := make(chan error, 1)
	address := accepting(t, nil, func(c *ws.Conn) {
		request, err := c.Requested(t.Context(), packet.Offload{})
		if err == nil {
			err = c.Grant(t.Context(), request, granted(), packet.Offload{})
		}
		if err == nil {
			err = run(t, c, long).wait(t)
		}
		ended <- err
	})
	r := dialRaw(t, address)
	r.connect()
	return r, ended
}
