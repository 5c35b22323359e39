package admission

import "testing"

// When connections from this machine, which are not counted by source, have used up the total, a
// newcomer from elsewhere evicts one of them, and stays when more of them come.
func TestLimiterLocalFlood(t *testing.T) {
	l := newTestLimiter(t, Rules{Total: 10})
	var local []*fakeConn
	for range 10 {
		local = append(local, l.admits("127.0.0.1"))
	}
	newcomer := l.admits("192.0.2.1")
	for range 50 {
		local = append(local, l.admits("127.0.0.1"))
	}
	if newcomer.closed {
		t.Error("the newcomer had to go for connections from this machine")
	}
	open := 0
	for _, c := range local {
		if !c.closed {
			open++
		}
	}
	if open != 9 || l.Len() != 10 {
		t.Errorf("%d connections from this machine, %d in all; want 9 of 10", open, l.Len())
	}

	// And the other way round: unauthenticated clients do not keep this machine's proxy out.
	l = newTestLimiter(t, Rules{Total: 10})
	for range 10 {
		l.admits("192.0.2.1")
	}
	proxied := l.admits("127.0.0.1")
	for range 50 {
		l.admits("192.0.2.2")
	}
	if proxied.closed {
		t.Error("the proxy's connection was closed for unauthenticated clients")
	}
}
