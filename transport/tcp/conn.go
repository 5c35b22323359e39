// Package tcp is a TCP connection, with TLS on top if there is any, that is read and written
// without waiting where the caller must not, and the tuner of its socket: what the kernel shows of
// the path (TCP_INFO, BBR's state), and which settings follow from it.
package tcp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/nonblock"
	"tunnel/transport/fq"
)

// The functions are in the order in which a connection uses them. New prepares it. The one reader
// reads with ReadIn, and over TLS with Await and ReadRecords. The one writer first asks Writable.
// Over TLS, after Gather, Write only collects records, and Take returns them to the writer.
// WriteSome then writes what the socket takes at once, and WaitWritable waits until it takes more.
// Interrupt, Close and the addresses follow at the end.

// Conn is the network connection under a WebSocket: TCP, and TLS on top if there is any. The
// WebSocket library shakes hands over it; then frames are read and written here, without waiting
// where the caller must not. It notes when the last byte came in: whatever comes is a sign of life,
// even half of a large message.
type Conn struct {
	net.Conn           // TLS, or the same as tcp
	under    *segments // between TLS and TCP; nil without TLS
	tcp      net.Conn
	raw      syscall.RawConn // of tcp
	heard    atomic.Int64    // time of the last read, nanoseconds since start
	start    time.Time

	coalescing coalescing

	// Of WriteSome and Writable, which one goroutine calls at a time. write and poll are made once:
	// a closure for each call would be garbage.
	write, poll func(fd uintptr)
	parts       *net.Buffers
	ready       bool
	failed      error
}

// New returns a Conn on a TCP connection; secure, if not nil, wraps that in TLS.
func New(tcp net.Conn, secure func(net.Conn) net.Conn) (*Conn, error) {
	sc, ok := tcp.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("%T is not a socket", tcp)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &Conn{Conn: tcp, tcp: tcp, raw: raw, start: time.Now()}
	w.write, w.poll = w.writeParts, w.pollOut
	if secure != nil {
		w.under = newSegments(tcp, raw, w.hear)
		w.Conn = secure(w.under)
	}
	return w, nil
}

// Secured reports whether there is TLS on top.
func (w *Conn) Secured() bool { return w.under != nil }

// Trust lifts the limits of what the other end may send before it has authenticated. Nobody reads
// meanwhile.
func (w *Conn) Trust() {
	if w.under != nil {
		w.under.early = 0
	}
}

// ReadIn reads the TCP connection by calls of f in a turn of t, as fq.Turn.Read does.
func (w *Conn) ReadIn(t *fq.Turn, f func(fd uintptr) bool) error { return t.Read(w.raw, f) }

// TakeTurns has the one reader read in turns of t, and calls waits before it waits for bytes of
// TLS.
func (w *Conn) TakeTurns(t *fq.Turn, waits func()) {
	if w.under != nil {
		w.under.turn, w.under.waits = t, waits
	}
}

// Await waits until bytes of TLS are there.
func (w *Conn) Await() error {
	if len(w.under.unread) > 0 {
		return nil
	}
	return w.under.fill()
}

// ReadRecords reads at least one byte, waiting for it, and then whole records as long as they are
// there: TLS gives out one at a time.
func (w *Conn) ReadRecords(p []byte) (n int, err error) {
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

// Read reads through TLS if there is any, and notes that the peer lives.
func (w *Conn) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.hear()
	}
	return n, err
}

// hear notes that bytes have come.
func (w *Conn) hear() { w.heard.Store(int64(time.Since(w.start))) }

// Unread reports whether bytes of TLS have been read from the socket that nobody has been given.
func (w *Conn) Unread() bool { return w.under != nil && len(w.under.unread) > 0 }

// Silence returns for how long nothing has come in.
func (w *Conn) Silence() time.Duration {
	return time.Since(w.start) - time.Duration(w.heard.Load())
}

// Writable tells whether the socket takes more: until then packets are better off in the fq.Queue,
// which knows how to be fair. With TCP_NOTSENT_LOWAT that is while the kernel has less than that to
// send.
func (w *Conn) Writable() (bool, error) {
	if err := w.raw.Control(w.poll); err != nil {
		return false, err
	}
	return w.ready, w.failed
}

func (w *Conn) pollOut(fd uintptr) { w.ready, w.failed = nonblock.Poll(fd, unix.POLLOUT) }

// Gather keeps what TLS makes of each Write from now on, for Take.
func (w *Conn) Gather() {
	if w.under != nil {
		w.under.gather()
	}
}

// Take returns what TLS has made of Writes since Gather or the last Take, nil for nothing. The
// caller gives it back with Recycle when it is written.
func (w *Conn) Take() *[]byte {
	if w.under == nil {
		return nil
	}
	return w.under.take()
}

// Recycle gives a buffer of Take back.
func Recycle(b *[]byte) {
	if cap(*b) == segmentsRoom {
		segmentsOut.Put(b)
	}
}

// WriteSome writes what the socket takes at once of parts, and cuts that off. It does not go
// through TLS.
func (w *Conn) WriteSome(parts *net.Buffers) error {
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

func (w *Conn) writeParts(fd uintptr) {
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

// WaitWritable waits until the socket is writable.
func (w *Conn) WaitWritable() error {
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

// Interrupt makes the reader, and anyone who reads from now on, return os.ErrDeadlineExceeded.
// Unlike Close it never waits: Close returns only when every callback of raw has
// (internal/poll.FD.Close), so code that runs in such a callback, or holds a lock that a callback
// takes, must not call Close.
func (w *Conn) Interrupt() { _ = w.tcp.SetReadDeadline(time.Unix(1, 0)) }

// Close closes the TCP connection. TLS would first write a close_notify and wait up to 5 s for room
// to do so; that a WebSocket's end is no truncation is for its close frame to say.
func (w *Conn) Close() error { return w.tcp.Close() }

// Closed reports whether the TCP connection was closed at this end.
func (w *Conn) Closed() bool { return w.raw.Control(func(uintptr) {}) != nil }

// Age returns for how long there is the connection.
func (w *Conn) Age() time.Duration { return time.Since(w.start) }

// Remote returns the address at the other end of the TCP connection, with its zone if it is
// link-local.
func (w *Conn) Remote() netip.Addr { return IPOf(w.tcp.RemoteAddr()) }

// Local returns this machine's address that the TCP connection has.
func (w *Conn) Local() netip.Addr { return IPOf(w.tcp.LocalAddr()).WithZone("") }

// IPOf returns the address of a TCP address.
func IPOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap()
}

// NetConn returns the TCP connection.
func (w *Conn) NetConn() net.Conn { return w.tcp }
