package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// wire is the network connection under a WebSocket: TCP, and TLS on top if there is any. The WebSocket library reads
// from it and writes control frames to it; batches are written beside the library, so a frame must go out in one Write.
// It notes when the last byte came in: whatever comes is a sign of life, be it half of a large message.
type wire struct {
	net.Conn           // TLS, or the same as under
	under    *segments // between TLS and TCP
	tcp      net.Conn
	raw      syscall.RawConn // of tcp
	heard    atomic.Int64    // time of the last read, nanoseconds since start
	start    time.Time

	mu sync.Mutex // held while a frame is written
}

// newWire puts a wire on a TCP connection; secure, if not nil, puts TLS in between.
func newWire(tcp net.Conn, secure func(net.Conn) net.Conn) (*wire, error) {
	sc, ok := tcp.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("%T is not a socket", tcp)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: tcp, tcp: tcp, raw: raw, start: time.Now()}
	if secure != nil {
		w.under = &segments{Conn: tcp, raw: raw}
		w.Conn = secure(w.under)
	}
	return w, nil
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.heard.Store(int64(time.Since(w.start)))
	}
	return n, err
}

// silence returns for how long nothing has come in.
func (w *wire) silence() time.Duration {
	return time.Since(w.start) - time.Duration(w.heard.Load())
}

// Write writes one frame, in one system call if the socket takes it.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.under == nil {
		return w.Conn.Write(p)
	}
	w.under.hold()
	n, err := w.Conn.Write(p)
	if flush := w.under.release(); err == nil {
		err = flush
	}
	return n, err
}

// writev writes one frame that lies in parts, in one system call if the socket takes it. There is no TLS.
func (w *wire) writev(parts *net.Buffers) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := parts.WriteTo(w.tcp)
	return err
}

// Close closes the TCP connection. TLS would first write a close_notify and wait up to 5 s for room to do so; that a
// WebSocket's end is no truncation is for its close frame to say.
func (w *wire) Close() error { return w.tcp.Close() }

// waitWritable waits until the socket takes more: until then packets are better off in the Queue, which knows how to be
// fair. With TCP_NOTSENT_LOWAT the kernel says so while it has less than that to send.
func (w *wire) waitWritable() error {
	var failed error
	err := w.raw.Write(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		_, failed = unix.Poll(p, 0)
		return failed != nil || p[0].Revents != 0
	})
	if err != nil {
		return err
	}
	return failed
}

// Listener wraps the TCP listener l so that Accept can reach the connection under each request, and puts TLS on it
// unless config is nil. Give it, with ConnContext, to an http.Server's Serve.
func Listener(l net.Listener, config *tls.Config) net.Listener {
	if config != nil {
		config = hardened(config)
	}
	return &listener{l, config}
}

type listener struct {
	net.Listener
	config *tls.Config
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	var secure func(net.Conn) net.Conn
	if l.config != nil {
		secure = func(c net.Conn) net.Conn { return tls.Server(c, l.config) }
	}
	w, err := newWire(c, secure)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return w, nil
}

type wireKey struct{}

// ConnContext is the http.Server's hook of that name: it hands the connection of Listener to Accept.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, wireKey{}, c)
}
