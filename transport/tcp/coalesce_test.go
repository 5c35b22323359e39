package tcp

import (
	"testing"
	"time"
)

// On a long path what comes in quick succession waits until coalesceTime after the first of it; a
// little does not, and nothing does on a short path.
func TestCoalescing(t *testing.T) {
	var m coalescing
	m.on.Store(false)
	m.got(1 << 20)
	if m.wait(); m.bytes != 0 || !m.began.IsZero() {
		t.Errorf("a short path is coalesced: %d bytes since %v", m.bytes, m.began)
	}
	m.on.Store(true)
	m.got(coalesceAfter - 1)
	began := m.began
	if m.wait(); m.bytes != coalesceAfter-1 {
		t.Error("a little had to wait")
	}
	for time.Since(began) <= coalesceTime {
		time.Sleep(time.Millisecond)
	}
	m.got(1) // another time
	if m.bytes != 1 || !m.began.After(began) {
		t.Errorf("%d bytes are counted since %v", m.bytes, m.began.Sub(began))
	}
	m.got(coalesceAfter)
	began = m.began
	if m.wait(); time.Since(began) < coalesceTime || m.bytes != 0 {
		t.Errorf("much was let through after %v", time.Since(began))
	}
	m.got(coalesceUpTo)
	if m.wait(); m.bytes != coalesceUpTo {
		t.Error("a full buffer had to wait")
	}
}
