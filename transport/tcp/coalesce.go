package tcp

import (
	"sync/atomic"
	"time"

	"tunnel/transport/fq"
)

const (
	// coalesceTime is a little more than the 2 ms that tell one train of acknowledgments from the
	// next (hystart_ack_delta_us in net/ipv4/tcp_cubic.c).
	coalesceTime = 2500 * time.Microsecond
	// coalesceAfter is how many bytes may come within coalesceTime without being held: what a
	// person types, and the first packets of anything else.
	coalesceAfter = 4 << 10
	// coalesceUpTo is how many bytes are held at most. A faster path fills the buffer within
	// coalesceTime, and would wait for its reader.
	coalesceUpTo = fq.ReaderRoom / 4 * 3
)

// coalescing lets what comes in quick succession on a long path wait for up to coalesceTime, as a
// network interface coalesces its interrupts: it then comes in one piece, which costs less. And its
// acknowledgments leave together, with gaps in between. A TCP sender inside takes an unbroken train
// of them, half a round trip long, for a sign that the path is full, and ends its slow start
// (HyStart); but the train is only as long as the connection underneath has made it by its pacing.
type coalescing struct {
	on    atomic.Bool
	began time.Time // of the one reader, as all below
	bytes int       // since then
}

// Coalesces reports whether what comes in is coalesced.
func (w *Conn) Coalesces() bool { return w.coalescing.on.Load() }

// Coalesce sets that.
func (w *Conn) Coalesce(on bool) { w.coalescing.on.Store(on) }

// AwaitMore waits until the one reader may read on, if more is likely to come at once.
func (w *Conn) AwaitMore() { w.coalescing.wait() }

// Received notes that the reader has n bytes more.
func (w *Conn) Received(n int) {
	w.coalescing.got(n)
	w.hear()
}

// wait waits until the reader may read on.
func (m *coalescing) wait() {
	if m.bytes >= coalesceAfter && m.bytes < coalesceUpTo && m.on.Load() {
		time.Sleep(time.Until(m.began.Add(coalesceTime)))
		m.bytes = 0
	}
}

// got notes that n bytes were read.
func (m *coalescing) got(n int) {
	if !m.on.Load() {
		return
	}
	if now := time.Now(); m.bytes == 0 || now.Sub(m.began) > coalesceTime {
		m.began, m.bytes = now, 0
	}
	m.bytes += n
}
