package transport

import (
	"sync/atomic"
	"time"
)

const (
	// holdRTT is the round-trip time from which on a path is moderated: holdTime is little beside it.
	holdRTT = 25 * time.Millisecond
	// holdTime is a little more than the 2 ms that tell one train of acknowledgments from the next (hystart_ack_delta_us in
	// net/ipv4/tcp_cubic.c).
	holdTime = 2500 * time.Microsecond
	// holdAfter is how many bytes may come within holdTime without being held: what a person types, and the first packets of
	// anything else.
	holdAfter = 4 << 10
	// holdUpTo is how many bytes are held at most. A faster path fills the buffer within holdTime, and would wait for its reader.
	holdUpTo = inputRoom / 4 * 3
)

// moderation lets what comes in quick succession on a long path wait for up to holdTime, as a network card moderates its
// interrupts: it then comes in one piece, which costs less. And its acknowledgments leave together, with gaps in between. A
// TCP sender inside takes an unbroken train of them, half a round trip long, for a sign that the path is full, and ends its
// slow start (HyStart); but the train is only as long as the connection underneath has made it by its pacing.
type moderation struct {
	on    atomic.Bool
	began time.Time // of the one reader, as all below
	bytes int       // since then
}

// setPath says what the path is like.
func (m *moderation) setPath(p path) { m.on.Store(p.rtt >= holdRTT) }

// wait waits until the reader may read on.
func (m *moderation) wait() {
	if m.bytes >= holdAfter && m.bytes < holdUpTo && m.on.Load() {
		time.Sleep(time.Until(m.began.Add(holdTime)))
		m.bytes = 0
	}
}

// got notes that n bytes were read.
func (m *moderation) got(n int) {
	if !m.on.Load() {
		return
	}
	if now := time.Now(); m.bytes == 0 || now.Sub(m.began) > holdTime {
		m.began, m.bytes = now, 0
	}
	m.bytes += n
}
