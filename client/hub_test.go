package client_test

import (
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"tunnel/packet"
	"tunnel/server"
	"tunnel/server/hubtest"
	"tunnel/transport"
	"tunnel/transport/dial"
	"tunnel/transport/ws"
)

const (
	patience = hubtest.Patience
	token    = hubtest.Token
)

// hub is a server that can stop and start again, with its leases, at the same address.
type hub struct {
	*hubtest.Hub
	t *testing.T
}

// newHub returns a hub that is not started; its port refuses connections.
func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{hubtest.New(t), t}
	h.changed(nil)
	return h
}

// startHub returns a hub that runs.
func startHub(t *testing.T) *hub {
	t.Helper()
	h := newHub(t)
	h.Start()
	return h
}

// changed has change make the Config of the next start.
func (h *hub) changed(change func(*server.Config)) {
	h.Change = func(c *server.Config) {
		c.Keepalive = 10 * time.Second
		if change != nil {
			change(c)
		}
	}
}

// stop stops the hub, which must not have failed.
func (h *hub) stop() {
	h.t.Helper()
	if err := h.Stop(); err != nil {
		h.t.Error(err)
	}
	h.Close()
}

// dialer returns a way to HOST:PORT.
func dialer(t *testing.T, address string) *ws.Dialer {
	t.Helper()
	u, err := transport.ParseURL("ws://" + address)
	if err != nil {
		t.Fatal(err)
	}
	return &ws.Dialer{Dialer: dial.Dialer{URL: u}, Token: token}
}

// join connects another client, without a device; it leaves when the test ends.
func (h *hub) join(ask transport.Connect) (*ws.Conn, transport.Link) {
	h.t.Helper()
	conn, err := dialer(h.t, h.Address).Dial(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	link, err := conn.Request(h.t.Context(), ask, packet.Offload{})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close(transport.CodeNormal, "") })
	return conn, link
}

// relay passes TCP connections on to a server, until it is cut.
type relay struct {
	address string

	mu    sync.Mutex
	conns []net.Conn
}

// newRelay returns a relay to address; it ends with the test.
func newRelay(t *testing.T, address string) *relay {
	t.Helper()
	ln := hubtest.Listen(t, "127.0.0.1:0")
	r := &relay{address: ln.Addr().String()}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
			if err != nil {
				_ = in.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, in, out)
			r.mu.Unlock()
			group.Go(func() { pass(in, out) })
			group.Go(func() { pass(out, in) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		r.cut()
		group.Wait()
	})
	return r
}

func pass(from, to net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
			_ = from.Close()
			_ = to.Close()
			return
		}
	}
}

// cut ends all connections without a word.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

// drop ends the connection that came as number i of those that are there, without a word.
func (r *relay) drop(i int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.conns[2*i].Close()
	_ = r.conns[2*i+1].Close()
	r.conns = slices.Delete(r.conns, 2*i, 2*i+2)
}

// count returns how many connections came and were not dropped.
func (r *relay) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns) / 2
}
