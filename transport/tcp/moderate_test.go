package tcp

import (
	"testing"
	"time"
)

// On a long path what comes in quick succession waits until holdTime after the first of it; a little does not, and nothing
// does on a short path.
func TestModeration(t *testing.T) {
	var m moderation
	m.on.Store(false)
	m.got(1 << 20)
	if m.wait(); m.bytes != 0 || !m.began.IsZero() {
		t.Errorf("a short path is moderated: %d bytes since %v", m.bytes, m.began)
	}
	m.on.Store(true)
	m.got(holdAfter - 1)
	began := m.began
	if m.wait(); m.bytes != holdAfter-1 {
		t.Error("a little had to wait")
	}
	for time.Since(began) <= holdTime {
		time.Sleep(time.Millisecond)
	}
	m.got(1) // another time
	if m.bytes != 1 || !m.began.After(began) {
		t.Errorf("%d bytes are counted since %v", m.bytes, m.began.Sub(began))
	}
	m.got(holdAfter)
	began = m.began
	if m.wait(); time.Since(began) < holdTime || m.bytes != 0 {
		t.Errorf("much was let through after %v", time.Since(began))
	}
	m.got(holdUpTo)
	if m.wait(); m.bytes != holdUpTo {
		t.Error("a full buffer had to wait")
	}
}
