// Package tcp is a TCP connection, optionally with TLS, whose writes do not block and whose reads
// take turns, and the tuner of its socket, which samples the path (TCP_INFO, BBR's state) and
// derives the socket's settings from the samples.
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
	"tunnel/transport/fq/turn"
	"tunnel/transport/tcp/tcpinfo"
)

// The functions are in the order in which a connection uses them. New prepares it. The one reader
// reads with ReadIn, and over TLS with Await and ReadRecords. The one writer first asks Writable.
// Over TLS, after Gather, Write only collects records, and Take returns them to the writer.
// WriteSome then writes what the socket takes at once, and WaitWritable waits until it takes more.
// Interrupt, Close and the addresses follow at the end.

// Conn is the network connection under a WebSocket: TCP, optionally with TLS. The WebSocket library
// makes the opening handshake over it; package ws then reads and writes frames with the methods
// that do not block. Conn records when the last byte was received: any byte shows that the peer is
// alive, even half of a large message.
type Conn struct {
	net.Conn           // TLS, or the same as tcp
	under    *segments // between TLS and TCP; nil without TLS
	tcp      net.Conn
	raw      syscall.RawConn // of tcp
	heard    atomic.Int64    // when bytes last arrived, nanoseconds since start
	start    time.Time

	coalescing coalescing
	narrow     narrowing // of the reader
	info       tcpinfo.Reader

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

// Secured reports whether the connection has TLS.
func (w *Conn) Secured() bool { return w.under != nil }

// Trust lifts the limits on what the other end may send before it has authenticated. It must not
// run concurrently with reads.
func (w *Conn) Trust() {
	if w.under != nil {
		w.under.early = 0
	}
}

// ReadIn reads the TCP connection by calls of f in a turn of t, as turn.Turn.Read does.
func (w *Conn) ReadIn(t *turn.Turn, f func(fd uintptr) bool) error { return t.Read(w.raw, f) }

// TakeTurns makes the one reader read TLS in turns of t, and call waits before it waits for bytes.
func (w *Conn) TakeTurns(t *turn.Turn, waits func()) {
	if w.under != nil {
		w.under.turn, w.under.waits = t, waits
	}
}

// Await waits until bytes of TLS can be read.
func (w *Conn) Await() error {
	if len(w.under.unread) > 0 {
		return nil
	}
	return w.under.fill()
}

// ReadRecords waits for at least one byte, then reads as many complete records as have arrived:
// Read returns one TLS record at a time.
func (w *Conn) ReadRecords(p []byte) (n int, err error) {
	for err == nil && (n == 0 || w.under.ready() && len(p)-n >= maxRecord) {
		var more int
		more, err = w.Conn.Read(p[n:])
		n += more
	}
	if n > 0 {
		err = nil // the next Read returns it again
	}
	return n, err
}

// Read reads through TLS if the connection has it, and records that bytes arrived.
func (w *Conn) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.hear(0)
	}
	return n, err
}

// hear records that bytes have arrived, and that n were read from the socket.
func (w *Conn) hear(n int) {
	w.heard.Store(int64(time.Since(w.start)))
	if n > 0 {
		w.narrow.rest = max(w.narrow.rest-n, 0)
	}
}

// Ready reports whether a whole record of TLS can be read without the socket.
func (w *Conn) Ready() bool { return w.under != nil && w.under.ready() }

// Shrink moves the bytes of TLS that have not been read to a buffer of their size, before the
// reader waits.
func (w *Conn) Shrink() {
	if w.under != nil {
		w.under.shrink()
	}
}

// Silence returns how long ago bytes last arrived.
func (w *Conn) Silence() time.Duration {
	return time.Since(w.start) - time.Duration(w.heard.Load())
}

// Writable reports whether the socket takes more bytes. Until then packets wait in the fq.Queue,
// which schedules flows fairly. With TCP_NOTSENT_LOWAT a socket is writable while the kernel holds
// fewer unsent bytes than that.
func (w *Conn) Writable() (bool, error) {
	if err := w.raw.Control(w.poll); err != nil {
		return false, err
	}
	return w.ready, w.failed
}

func (w *Conn) pollOut(fd uintptr) { w.ready, w.failed = nonblock.Poll(fd, unix.POLLOUT) }

// Gather makes Write keep the TLS records from now on, for Take, instead of sending them.
func (w *Conn) Gather() {
	if w.under != nil {
		w.under.gather()
	}
}

// Take returns the TLS records of the Writes since Gather or the last Take, nil for none. The
// caller returns the buffer with Recycle after writing it.
func (w *Conn) Take() *[]byte {
	if w.under == nil {
		return nil
	}
	return w.under.take()
}

// Recycle returns a buffer of Take to its pool.
func Recycle(b *[]byte) {
	if cap(*b) == segmentsRoom {
		segmentsOut.Put(b)
	}
}

// WriteSome writes as much of parts as the socket takes at once, and removes that from parts. It
// bypasses TLS: parts are the records of Take.
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

// consume removes the first n bytes from parts.
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

// Close closes the TCP connection. It sends no close_notify, for which TLS might wait up to 5 s for
// room in the socket: the close frame of the WebSocket protects against truncation.
func (w *Conn) Close() error {
	w.Info() // which the Reader keeps
	return w.tcp.Close()
}

// Info returns the state of the TCP connection, or what it was when the connection was closed at
// this end. It may be called at any time, and costs the data path nothing.
func (w *Conn) Info() tcpinfo.Info { return w.info.Read(w.raw) }

// Closed reports whether the TCP connection was closed at this end.
func (w *Conn) Closed() bool { return w.raw.Control(func(uintptr) {}) != nil }

// Age returns the time since New.
func (w *Conn) Age() time.Duration { return time.Since(w.start) }

// Remote returns the address at the other end of the TCP connection, with its zone if it is
// link-local.
func (w *Conn) Remote() netip.Addr { return IPOf(w.tcp.RemoteAddr()) }

// Local returns the local address of the TCP connection.
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
