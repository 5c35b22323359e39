package ws_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"tunnel/transport/tcp"
)

// gated serves behind a gate and returns HOST:PORT.
func gated(t *testing.T, config *tls.Config, gate tcp.Gate) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute,
		ConnContext: tcp.ConnContext}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = web.Serve(tcp.Listener(ln, config, gate))
	}()
	t.Cleanup(func() {
		_ = web.Close()
		<-done
	})
	return ln.Addr().String()
}

func open(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// The gate is asked once for each handshake, is told when the costly part is over, and can end it
// before.
func TestGate(t *testing.T) {
	ca := newAuthority(t)
	var asked, ended atomic.Int64
	var closed atomic.Bool
	address := gated(t, ca.server(t, "127.0.0.1"), func(remote net.Addr) (func(), error) {
		if _, ok := remote.(*net.TCPAddr); !ok {
			t.Errorf("asked about %T", remote)
		}
		if asked.Add(1); closed.Load() {
			return nil, errors.New("closed")
		}
		return func() { ended.Add(1) }, nil
	})
	config := ca.client().Clone()
	config.ServerName = "127.0.0.1"
	if err := tls.Client(open(t, address), config).HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if asked.Load() != 1 || ended.Load() != 1 {
		t.Errorf("asked %d times, ended %d times", asked.Load(), ended.Load())
	}
	closed.Store(true)
	conn := open(t, address)
	if err := tls.Client(conn, config).HandshakeContext(t.Context()); err == nil ||
		os.IsTimeout(err) {
		t.Errorf("through a closed gate: %v", err)
	}
	if asked.Load() != 2 || ended.Load() != 1 {
		t.Errorf("asked %d times, ended %d times", asked.Load(), ended.Load())
	}
}

// A client cannot make the server keep more than 48 KiB before a login: TLS itself would accept a
// ClientHello of 64.
func TestEarlyBytes(t *testing.T) {
	address := gated(t, newAuthority(t).server(t, "127.0.0.1"),
		func(net.Addr) (func(), error) { return func() {}, nil })
	conn := open(t, address)
	// the rest never comes
	message := append([]byte{1, 0, 60000 >> 8, 60000 & 0xff}, make([]byte, 50000)...)
	for len(message) > 0 {
		n := min(len(message), 16000)
		record := append([]byte{0x16, 3, 1, byte(n >> 8), byte(n)}, message[:n]...)
		if _, err := conn.Write(record); err != nil {
			return // it was closed already
		}
		message = message[n:]
	}
	if _, err := io.Copy(io.Discard, conn); os.IsTimeout(err) {
		t.Error("still open")
	}
}
