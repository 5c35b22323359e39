package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/nonblock"
)

// wire is the network connection under a WebSocket: TCP, and TLS on top if there is any. The WebSocket library shakes
// hands over it; then frames are read and written here, without waiting where the caller must not. It notes when the last
// byte came in: whatever comes is a sign of life, be it half of a large message.
type wire struct {
	net.Conn           // TLS, or the same as tcp
	under    *segments // between TLS and TCP; nil without TLS
	tcp      net.Conn
	raw      syscall.RawConn // of tcp
	heard    atomic.Int64    // time of the last read, nanoseconds since start
	start    time.Time

	moderation moderation

	// Of writeSome and writable, which one goroutine calls at a time; closures made anew for each call would be garbage.
	write, poll func(fd uintptr)
	parts       *net.Buffers
	ready       bool
	failed      error
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
	w.write, w.poll = w.writeParts, w.pollOut
	if secure != nil {
		w.under = newSegments(tcp, raw, w.hear)
		w.Conn = secure(w.under)
	}
	return w, nil
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.hear()
	}
	return n, err
}

// hear notes that bytes have come.
func (w *wire) hear() { w.heard.Store(int64(time.Since(w.start))) }

// readTLS reads at least one byte, waiting for it, and then whole records as long as they are there: TLS gives out one at
// a time.
func (w *wire) readTLS(p []byte) (n int, err error) {
	for err == nil && (n == 0 || w.under.ready() && len(p)-n >= maxRecord) {
		var more int
		more, err = w.Conn.Read(p[n:])
		n += more
	}
	if n > 0 {
		err = nil // it comes again
	}
	return n, err
}

// maxRecord is the most bytes that a TLS record carries (RFC 8446 section 5.1).
const maxRecord = 16 << 10

// silence returns for how long nothing has come in.
func (w *wire) silence() time.Duration {
	return time.Since(w.start) - time.Duration(w.heard.Load())
}

// writeSome writes what the socket takes at once of parts, and cuts that off. It does not go through TLS.
func (w *wire) writeSome(parts *net.Buffers) error {
	w.parts, w.failed = parts, nil
	err := w.raw.Control(w.write)
	switch {
	case err != nil:
		return err
	case errors.Is(w.failed, unix.EAGAIN):
		return nil
	}
	return w.failed
}

func (w *wire) writeParts(fd uintptr) {
	for len(*w.parts) > 0 && w.failed == nil {
		var n int
		if n, w.failed = nonblock.Writev(fd, *w.parts); n > 0 {
			consume(w.parts, n)
		}
	}
}

// consume cuts the first n bytes off parts.
func consume(parts *net.Buffers, n int) {
	for n > 0 {
		first := (*parts)[0]
		if n < len(first) {
			(*parts)[0] = first[n:]
			return
		}
		n -= len(first)
		(*parts)[0] = nil
		*parts = (*parts)[1:]
	}
}

// Close closes the TCP connection. TLS would first write a close_notify and wait up to 5 s for room to do so; that a
// WebSocket's end is no truncation is for its close frame to say.
func (w *wire) Close() error { return w.tcp.Close() }

// interrupt makes the reader, and whoever reads from now on, return os.ErrDeadlineExceeded. Unlike
// Close it never waits: Close returns only when every callback of raw has (internal/poll.FD.Close),
// so code that runs in such a callback, or holds a lock that a callback takes, must not call Close.
func (w *wire) interrupt() { _ = w.tcp.SetReadDeadline(time.Unix(1, 0)) }

// writable tells whether the socket takes more: until then packets are better off in the Queue, which knows how to be
// fair. With TCP_NOTSENT_LOWAT that is while the kernel has less than that to send.
func (w *wire) writable() (bool, error) {
	if err := w.raw.Control(w.poll); err != nil {
		return false, err
	}
	return w.ready, w.failed
}

func (w *wire) pollOut(fd uintptr) { w.ready, w.failed = nonblock.Poll(fd, unix.POLLOUT) }

// waitWritable waits until the socket is writable.
func (w *wire) waitWritable() error {
	var failed error
	err := w.raw.Write(func(fd uintptr) (ready bool) {
		ready, failed = nonblock.Poll(fd, unix.POLLOUT)
		return ready || failed != nil
	})
	if err != nil {
		return err
	}
	return failed
}

// NetConn returns the TCP connection.
func (w *wire) NetConn() net.Conn { return w.tcp }

// Listener wraps the TCP listener l so that Accept can reach the connection under each request, and puts TLS on it
// unless config is nil. gate, if not nil, is asked before each handshake, and a connection that Accept has not upgraded may
// send no more than 48 KiB then. Give it, with ConnContext, to an http.Server's Serve.
func Listener(l net.Listener, config *tls.Config, gate Gate) net.Listener {
	if config != nil {
		config = gated(hardened(config), gate)
	}
	return &listener{l, config, gate != nil}
}

type listener struct {
	net.Listener
	config *tls.Config
	strict bool // limits what comes before a login
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
	if w.under != nil && l.strict {
		w.under.early = earlyMost
	}
	return w, nil
}

type wireKey struct{}

// ConnContext is the http.Server's hook of that name: it hands the connection of Listener to Accept.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, wireKey{}, c)
}
