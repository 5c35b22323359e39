package tcp

import (
	"sync/atomic"
	"time"

	"tunnel/transport/fq/turn"
)

const (
	// coalesceTime is a little more than the 2 ms by which HyStart separates one train of
	// acknowledgments from the next (hystart_ack_delta_us in net/ipv4/tcp_cubic.c).
	coalesceTime = 2500 * time.Microsecond
	// coalesceAfter is how many bytes may arrive within coalesceTime without a wait. Symptom: a
	// wait would delay keystrokes, and the first packets of a flow. Source: these are few and
	// small, and nothing follows that could be read with them. Figure: none in
	// throughput; without this bound a stream on 100 Mbit/s and 40 ms had 90 Mbit/s as well.
	coalesceAfter = 4 << 10
	// coalesceUpTo is up to how many bytes the reader waits for more. Symptom: a fast path would
	// stall. Source: it fills the reader's buffer within coalesceTime, and then nothing is read
	// until the wait is over. Figure: without this bound the streams of 500 Mbit/s and 100 ms had the
	// same goodput, and the round trip under four was 139 ms instead of 126.
	coalesceUpTo = turn.ReaderRoom / 4 * 3
)

// coalescing delays reads on a long path by up to coalesceTime while bytes arrive in quick
// succession, as a network interface coalesces its interrupts. Reads are then fewer and larger,
// which costs less time. The acknowledgments inside leave in groups with gaps between them. This
// matters to a TCP sender inside: HyStart takes an unbroken train of acknowledgments, half a round
// trip long, as a sign that the path is full, and ends slow start. Here the pacing of the outer
// connection would make such a train.
type coalescing struct {
	on    atomic.Bool
	began time.Time // when counting bytes began; the one reader's, as is bytes
	bytes int       // read since began
}

// Coalesces reports whether reads are coalesced.
func (w *Conn) Coalesces() bool { return w.coalescing.on.Load() }

// Coalesce turns the coalescing of reads on or off.
func (w *Conn) Coalesce(on bool) { w.coalescing.on.Store(on) }

// AwaitMore is called by the one reader before it reads; it waits if more bytes are likely to come
// soon.
func (w *Conn) AwaitMore() { w.coalescing.wait() }

// Received records that the reader has read n bytes, with TLS of what was in it.
func (w *Conn) Received(n int) {
	w.coalescing.got(n)
	if w.Secured() {
		n = 0 // fill has counted the records
	}
	w.hear(n)
}

// wait is AwaitMore.
func (m *coalescing) wait() {
	if m.bytes >= coalesceAfter && m.bytes < coalesceUpTo && m.on.Load() {
		time.Sleep(time.Until(m.began.Add(coalesceTime)))
		m.bytes = 0
	}
}

// got counts n bytes that were read.
func (m *coalescing) got(n int) {
	if !m.on.Load() {
		return
	}
	if now := time.Now(); m.bytes == 0 || now.Sub(m.began) > coalesceTime {
		m.began, m.bytes = now, 0
	}
	m.bytes += n
}
