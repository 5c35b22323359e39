package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"tunnel/auth"
	"tunnel/lease"
	"tunnel/packet"
	"tunnel/server"
	"tunnel/state"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

const (
	patience = 20 * time.Second // for what is about to happen, on however busy a machine
	token    = "correct-horse-battery"
)

// hub is a server that can stop and start again, with its leases, at the same address.
type hub struct {
	t       *testing.T
	server  *server.Server // since start
	device  *tuntest.Device
	address string // HOST:PORT
	token   string
	network string
	file    string // of the leases
	change  func(*server.Config)
	log     *logs
	stop    func() // nil while it does not run
}

// newHub returns a hub that is not started; its port refuses connections. It is one of an address
// of its own, so that nobody takes the port while the hub does not run.
func newHub(t *testing.T) *hub {
	t.Helper()
	ln := listen(t, fmt.Sprintf("127.%d.%d.%d:0", 1+rand.N(250), rand.N(250), 1+rand.N(250)))
	h := &hub{
		t: t, address: ln.Addr().String(), token: token, network: "10.1.1.0/24",
		file: filepath.Join(t.TempDir(), "tunnel.db"), log: &logs{},
	}
	_ = ln.Close()
	t.Cleanup(func() {
		if h.stop != nil {
			h.stop()
		}
		if text := h.log.text(); bytes.Contains(text, []byte(token)) {
			t.Errorf("the token is in the log:\n%s", text)
		}
	})
	return h
}

// startHub returns a hub that runs.
func startHub(t *testing.T) *hub {
	t.Helper()
	h := newHub(t)
	h.start()
	return h
}

func (h *hub) start() {
	h.t.Helper()
	file, err := state.Open(h.file)
	if err != nil {
		h.t.Fatal(err)
	}
	leases, err := lease.Open(file.Bucket("leases"), netip.MustParsePrefix(h.network),
		lease.Options{})
	if err != nil {
		h.t.Fatal(err)
	}
	tokens, err := auth.Open(file.Bucket("tokens"))
	if err != nil {
		h.t.Fatal(err)
	}
	tokens.SetFlag(h.token)
	h.device = tuntest.New()
	config := server.Config{
		Device: h.device, Leases: leases, Tokens: tokens, Path: "/ws", MTU: 1400, Qlen: 100,
		Keepalive: 10 * time.Second, Log: slog.New(slog.NewJSONHandler(h.log, nil)),
	}
	if h.change != nil {
		h.change(&config)
	}
	ctx, cancel := context.WithCancel(context.Background()) // it ends after t.Context
	ended, ln := make(chan error, 1), listen(h.t, h.address)
	h.server = server.New(config)
	go func() { ended <- h.server.Run(ctx, ln) }()
	h.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			h.t.Error(err)
		}
		if err := errors.Join(leases.Close(), tokens.Close(), file.Close()); err != nil {
			h.t.Error(err)
		}
		h.stop = nil
	}
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// dialer returns a way to HOST:PORT.
func dialer(t *testing.T, address string) *transport.Dialer {
	t.Helper()
	u, err := transport.ParseURL("ws://" + address)
	if err != nil {
		t.Fatal(err)
	}
	return &transport.Dialer{URL: u, Token: token}
}

// join connects another client, without a device; it leaves when the test ends.
func (h *hub) join(ask transport.Connect) (*transport.Conn, transport.Link) {
	h.t.Helper()
	conn, err := dialer(h.t, h.address).Dial(h.t.Context())
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

// logs collects log lines.
type logs struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(p)
}

func (l *logs) text() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.buffer.Bytes())
}

// until waits until text is in the log n times.
func (l *logs) until(t *testing.T, text string, n int) {
	t.Helper()
	for late := time.Now().Add(patience); bytes.Count(l.text(),
		[]byte(text)) < n; time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%q is not %d times in the log:\n%s", text, n, l.text())
		}
	}
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
	ln := listen(t, "127.0.0.1:0")
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
