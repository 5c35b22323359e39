package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
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

// hub is a server that runs.
type hub struct {
	t       *testing.T
	server  *server.Server
	tokens  *auth.Store
	device  *tuntest.Device
	address string // HOST:PORT
	file    string // of the leases and tokens
	log     *logs
	later   atomic.Int64 // nanoseconds by which the clock of the leases is ahead
	slow    *gate        // between the server and its disk
	cancel  context.CancelFunc
	close   func() // ends it, and closes its file
	ended   chan struct{}
	err     error // of Run, set when ended is closed
}

// serve starts a server for network, with whatever change makes of its Config. It has stopped when the test ends.
func serve(t *testing.T, network string, change func(*server.Config)) *hub {
	t.Helper()
	return serveFile(t, filepath.Join(t.TempDir(), "tunnel.db"), network, change)
}

// serveFile is serve with what a file has kept.
func serveFile(t *testing.T, path, network string, change func(*server.Config)) *hub {
	t.Helper()
	h := &hub{t: t, device: tuntest.New(), file: path, log: &logs{}, slow: &gate{}, ended: make(chan struct{})}
	file, err := state.Open(h.file)
	if err != nil {
		t.Fatal(err)
	}
	leases, err := lease.Open(gated{file.Bucket("leases"), h.slow}, netip.MustParsePrefix(network), lease.Options{
		Now: func() time.Time { return time.Now().Add(time.Duration(h.later.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	h.tokens, err = auth.Open(gated{file.Bucket("tokens"), h.slow})
	if err != nil {
		t.Fatal(err)
	}
	h.tokens.SetFlag(token)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.address = ln.Addr().String()
	config := server.Config{
		Device: h.device, Leases: leases, Auth: h.tokens, Path: "/ws", MTU: 1400, Qlen: 100,
		Keepalive: transport.MaxKeepalive, Log: slog.New(slog.NewJSONHandler(h.log, nil)),
		Sever: func(context.Context, netip.Addr) error { return nil },
	}
	if change != nil {
		change(&config)
	}
	ctx, cancel := context.WithCancel(context.Background()) // it ends after t.Context
	h.cancel = cancel
	if h.server, err = server.New(config); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(h.ended)
		h.err = h.server.Run(ctx, ln)
	}()
	h.close = sync.OnceFunc(func() {
		_ = h.stop()
		if err := errors.Join(leases.Close(), h.tokens.Close(), file.Close()); err != nil {
			t.Error(err)
		}
		if text := h.log.text(); bytes.Contains(text, []byte(token)) {
			t.Errorf("the token is in the log:\n%s", text)
		}
	})
	t.Cleanup(h.close)
	return h
}

// gate is a disk on which writes stand still while it is locked.
type gate struct {
	sync.RWMutex
	waiting atomic.Int64 // writes
}

// gated is a bucket behind a gate.
type gated struct {
	state.Bucket
	gate *gate
}

func (g gated) Write(put map[string][]byte, remove ...string) error {
	g.gate.waiting.Add(1)
	defer g.gate.waiting.Add(-1)
	g.gate.RLock()
	defer g.gate.RUnlock()
	return g.Bucket.Write(put, remove...)
}

// pass lets time pass for the leases.
func (h *hub) pass(d time.Duration) { h.later.Add(int64(d)) }

// stop ends the server and returns what Run does.
func (h *hub) stop() error {
	h.t.Helper()
	h.cancel()
	return h.wait()
}

func (h *hub) wait() error {
	h.t.Helper()
	select {
	case <-h.ended:
		return h.err
	case <-time.After(patience):
		h.t.Fatal("Run does not end")
		return nil
	}
}

// drops stops the server and returns its counts, without those that are 0.
func (h *hub) drops() map[string]int {
	h.t.Helper()
	if err := h.stop(); err != nil {
		h.t.Error(err)
	}
	for line := range bytes.Lines(h.log.text()) {
		var entry struct {
			Msg   string
			Drops map[string]int
		}
		if err := json.Unmarshal(line, &entry); err != nil {
			h.t.Fatal(err)
		}
		if entry.Msg == "stopped" {
			for reason, n := range entry.Drops {
				if n == 0 {
					delete(entry.Drops, reason)
				}
			}
			return entry.Drops
		}
	}
	h.t.Fatal("no line about the stop")
	return nil
}

// logs collects what the server logs, as JSON lines.
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

// dialer returns a way to the hub.
func (h *hub) dialer() *transport.Dialer {
	h.t.Helper()
	u, err := transport.ParseURL("ws://" + h.address)
	if err != nil {
		h.t.Fatal(err)
	}
	return &transport.Dialer{URL: u, Token: token}
}

// member is a client of the hub. It reads and writes only when the test says so.
type member struct {
	t    *testing.T
	conn *transport.Conn
	link transport.Link
}

// dial connects and asks for an address; the error is that of either.
func (h *hub) dial(ask transport.Connect) (*member, error) {
	h.t.Helper()
	return h.dialWith(token, ask)
}

// dialWith is dial with another token.
func (h *hub) dialWith(token string, ask transport.Connect) (*member, error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	dialer := h.dialer()
	dialer.Token = token
	conn, err := dialer.Dial(ctx)
	if err != nil {
		return nil, err
	}
	link, err := conn.Request(ctx, ask, packet.Offload{})
	if err != nil {
		conn.Close(transport.CodeNormal, "")
		return nil, err
	}
	return &member{h.t, conn, link}, nil
}

// join is a dial that succeeds. The member leaves when the test ends, if it has not before.
func (h *hub) join(ask transport.Connect) *member {
	h.t.Helper()
	m, err := h.dial(ask)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(m.leave)
	return m
}

// own returns the member's address.
func (m *member) own() string { return m.link.Address.String() }

// leave closes the connection and waits until the server knows.
func (m *member) leave() { m.conn.Close(transport.CodeNormal, "the member leaves") }

// sends sends packets in one batch.
func (m *member) sends(packets ...[]byte) {
	m.t.Helper()
	var b packet.Batch
	for _, p := range packets {
		tuntest.Add(&b, p)
	}
	if err := m.conn.WriteBatch(&b); err != nil {
		m.t.Fatal(err)
	}
}

// gets returns the next n packets.
func (m *member) gets(n int) (all [][]byte) {
	m.t.Helper()
	for len(all) < n {
		var b packet.Batch
		if err := m.conn.ReadBatch(&b); err != nil {
			m.t.Fatalf("%s: %d of %d packets, then: %v", m.own(), len(all), n, err)
		}
		all = append(all, tuntest.PacketsOf(&b)...)
	}
	return all
}

// told reads until the server closes the connection; it returns the packets until then, and how.
func (m *member) told() (packets [][]byte, closed transport.CloseError) {
	m.t.Helper()
	for {
		var b packet.Batch
		err := m.conn.ReadBatch(&b)
		if err == nil {
			packets = append(packets, tuntest.PacketsOf(&b)...)
			continue
		}
		var ce *transport.CloseError
		if !errors.As(err, &ce) {
			m.t.Errorf("%s: ended without a close frame: %v", m.own(), err)
			return packets, closed
		}
		return packets, *ce
	}
}
