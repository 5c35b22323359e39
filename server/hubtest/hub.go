// Package hubtest runs a hub with a device in memory, for tests of one package.
package hubtest

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
	"sync/atomic"
	"testing"
	"time"

	"tunnel/auth"
	"tunnel/lease"
	"tunnel/server"
	"tunnel/state"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

const (
	// Patience is for what is about to happen, on however busy a machine.
	Patience = 20 * time.Second
	// Token is that of a hub, unless its field says otherwise.
	Token = "correct-horse-battery"
)

// Hub is a server that can start, stop, and start again with its leases at the same address. Its
// fields Token, Network, File, Change and Address may be set while it does not run.
type Hub struct {
	Token   string
	Network string
	File    string               // of the leases and tokens
	Change  func(*server.Config) // nil changes nothing
	Log     *Logs                // of all starts
	Address string               // HOST:PORT
	Disk    *Disk                // between the server and File
	Ahead   atomic.Int64         // nanoseconds by which the clock of the leases is ahead

	Server *server.Server  // since the latest start, as those below
	Device *tuntest.Device // closed when the server has stopped
	Tokens *auth.Store

	t      testing.TB
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // of Run, set when ended is closed
	files  func() error
}

// New returns a hub that does not run; its port refuses connections. The address is its own, so
// that nobody takes the port while it does not run. It is closed when the test ends.
func New(t testing.TB) *Hub {
	t.Helper()
	ln := Listen(t, fmt.Sprintf("127.%d.%d.%d:0", 1+rand.N(250), rand.N(250), 1+rand.N(250)))
	h := &Hub{
		Token: Token, Network: "10.1.1.0/24", File: filepath.Join(t.TempDir(), "tunnel.db"),
		Log:     &Logs{},
		Address: ln.Addr().String(), Disk: &Disk{}, t: t,
	}
	_ = ln.Close()
	t.Cleanup(func() {
		h.Close()
		if text := h.Log.Text(); bytes.Contains(text, []byte(Token)) {
			t.Errorf("the token is in the log:\n%s", text)
		}
	})
	return h
}

// Listen listens on a TCP address.
func Listen(t testing.TB, address string) net.Listener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// Start starts the server.
func (h *Hub) Start() {
	h.t.Helper()
	file, err := state.Open(h.File)
	if err != nil {
		h.t.Fatal(err)
	}
	leases, err := lease.Open(bucket{file.Bucket("leases"), h.Disk},
		netip.MustParsePrefix(h.Network), lease.Options{
			Now: func() time.Time { return time.Now().Add(time.Duration(h.Ahead.Load())) },
		})
	if err != nil {
		h.t.Fatal(err)
	}
	h.Tokens, err = auth.Open(bucket{file.Bucket("tokens"), h.Disk})
	if err != nil {
		h.t.Fatal(err)
	}
	tokens := h.Tokens
	tokens.SetFlag(h.Token)
	h.files = func() error { return errors.Join(leases.Close(), tokens.Close(), file.Close()) }
	h.Device = tuntest.New()
	config := server.Config{
		Device: h.Device, Leases: leases, Auth: tokens, Path: "/ws", MTU: 1400, Qlen: 100,
		Keepalive: transport.MaxKeepalive, Log: slog.New(slog.NewJSONHandler(h.Log, nil)),
		Sever: func(context.Context, ...netip.Prefix) error { return nil },
	}
	if h.Change != nil {
		h.Change(&config)
	}
	s, err := server.New(config)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // it ends after t.Context
	ln, ended := Listen(h.t, h.Address), make(chan struct{})
	h.Address, h.Server, h.cancel, h.ended = ln.Addr().String(), s, cancel, ended
	go func() {
		defer close(ended)
		h.err = s.Run(ctx, ln)
	}()
}

// Cancel tells the server to stop, and does not wait.
func (h *Hub) Cancel() { h.cancel() }

// Stop stops the server and returns what Run has returned.
func (h *Hub) Stop() error {
	h.t.Helper()
	h.cancel()
	return h.Wait()
}

// Wait waits until Run returns, and returns its error.
func (h *Hub) Wait() error {
	h.t.Helper()
	select {
	case <-h.ended:
		return h.err
	case <-time.After(Patience):
		h.t.Fatal("Run does not end")
		return nil
	}
}

// Close stops the server, if it runs, and closes its file.
func (h *Hub) Close() {
	h.t.Helper()
	if h.files == nil {
		return
	}
	_ = h.Stop()
	if err := h.files(); err != nil {
		h.t.Error(err)
	}
	h.files = nil
}

// Pass lets time pass for the leases.
func (h *Hub) Pass(d time.Duration) { h.Ahead.Add(int64(d)) }
