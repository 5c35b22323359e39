package metrics

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A program that is stuck is neither alive nor ready, one that cannot pass packets is alive.
func TestHealth(t *testing.T) {
	var ready error
	p := living()
	p.Ready = func() error { return ready }
	ask, _ := serve(t, New(""), p)
	ready = errors.New("not connected:\r\n no route")
	for path, want := range map[string]answers{
		"/healthz": {http.StatusOK, "ok\n"},
		"/readyz":  {http.StatusServiceUnavailable, "not connected: no route\n"},
		"/":        {http.StatusNotFound, "404 page not found\n"},
		"/debug/":  {http.StatusNotFound, "404 page not found\n"},
	} {
		if got := ask(path, ""); got != want {
			t.Errorf("%s: %+v, want %+v", path, got, want)
		}
	}
	ready = nil
	if got := ask("/readyz", ""); got.code != http.StatusOK {
		t.Errorf("ready: %+v", got)
	}
}

// Those who ask while a check is stuck wait for that one, and do not begin others.
func TestStuck(t *testing.T) {
	release, begun := make(chan struct{}), make(chan struct{}, 10)
	w := &watchdog{check: func() {
		begun <- struct{}{}
		<-release
	}}
	for range 3 {
		if err := w.ask(t.Context(), time.Millisecond); !errors.Is(err, errStuck) {
			t.Errorf("a check that does not return: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.ask(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("after ctx: %v", err)
	}
	if len(begun) > 1 {
		t.Errorf("%d checks run at once", len(begun))
	}
	close(release)
	if err := w.ask(t.Context(), time.Hour); err != nil {
		t.Error(err)
	}
}

// A page in a browser cannot read what a listener on the loopback answers, by a name that leads
// there (DNS rebinding).
func TestHost(t *testing.T) {
	ask, _ := serve(t, New(""), living())
	for host, want := range map[string]int{
		"127.0.0.1:9000": 200, "localhost": 200, "LOCALHOST:1": 200, "[::1]:9": 200,
		"evil.example": 421, "evil.example:9000": 421, "localhost.evil.example": 421,
	} {
		if got := ask("/metrics", host); got.code != want {
			t.Errorf("Host: %s is answered %d", host, got.code)
		}
	}
}

// Silent connections end by themselves, and a long header is refused.
func TestBounds(t *testing.T) {
	_, at := serve(t, New(""), living())
	dial := func() net.Conn {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	for i := range 20 * maxConnections {
		conn := dial() // far more than there may be
		if i%2 == 0 {
			if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\n"); err != nil && i < maxConnections {
				t.Fatal(err)
			}
		}
	}
	began := time.Now()
	asks := dial()
	if _, err := io.WriteString(asks, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(asks)
	if !strings.HasPrefix(string(got), "HTTP/1.1 200 ") || time.Since(began) > requestTimeout/2 {
		t.Errorf("beside silent connections: %q, %v after %v", got, err, time.Since(began))
	}
	long := dial()
	_, err = io.WriteString(long, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "+
		strings.Repeat("x", maxHeader+5<<10)+"\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(long)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 431 ") { // a reset may follow: not all was read
		t.Errorf("a long header: %q, %v", answer, err)
	}
}

// The socket is for its user and group, whatever the umask is; one of a killed run is replaced, and
// nothing else.
func TestListen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("a long name", 10)) // beyond a sockaddr_un
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "metrics.sock")
	for _, mask := range []int{0, 0o077} {
		old := unix.Umask(mask)
		ln, err := Listen(t.Context(), path)
		unix.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(path); err != nil || info.Mode() != os.ModeSocket|0o660 {
			t.Errorf("umask %o: %v, %v", mask, info.Mode(), err)
		}
		if _, err := Listen(t.Context(), path); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("a second one: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { New("").Serve(ctx, ln, living(), slog.New(slog.DiscardHandler)) })
		conn, err := new(net.Dialer).DialContext(ctx, "unix", inDir(t, dir, "metrics.sock"))
		if err == nil {
			_, err = io.WriteString(conn, "GET /healthz HTTP/1.0\r\n\r\n")
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(got), "\r\n\r\nok\n") {
			t.Errorf("it answers %q, %v", got, err)
		}
		_ = conn.Close()
		cancel()
		group.Wait()
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after the end: %v", err)
		}
		_ = ln.Close()
	}

	killed, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if s, ok := killed.(*socket); !ok || s.UnixListener.Close() != nil {
		t.Fatal("not a socket")
	}
	again, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatalf("after a killed run: %v", err)
	}
	_ = again.Close()
	_ = killed.Close()
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), path); err == nil ||
		!strings.Contains(err.Error(), "not a socket is in the way") {
		t.Errorf("in place of a file: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "mine" {
		t.Errorf("the file is %q, %v", text, err)
	}
}

// At the end the socket is removed from the directory in which it was made, although that has
// another name now, and another directory has its own.
func TestListenInMovedDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "first")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "metrics.sock")
	ln, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	moved := dir + ".old"
	if err := errors.Join(os.Rename(dir, moved), os.Mkdir(dir, 0o755),
		os.WriteFile(path, nil, 0o600), ln.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("another's file: %v", err)
	}
	left := filepath.Join(moved, "metrics.sock")
	if _, err := os.Lstat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket: %v", err)
	}
}

// inDir returns a name for a file in dir that fits into a sockaddr_un.
func inDir(t *testing.T, dir, name string) string {
	t.Helper()
	link := filepath.Join(t.TempDir(), "d")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(link, name)
}
