package admission

import "testing"

// When connections from this machine, which are not counted by source, have used up the total, a
// newcomer from elsewhere evicts one of them, and stays when more of them come.
func TestLimiterLocalFlood(t *testing.T) {
	e := newEntrance(t, Rules{Total: 10})
	var local []*fakeConn
	for range 10 {
		local = append(local, e.enters("127.0.0.1"))
	}
	newcomer := e.enters("192.0.2.1")
	for range 50 {
		local = append(local, e.enters("127.0.0.1"))
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
	if open != 9 || e.Len() != 10 {
		t.Errorf("%d connections from this machine, %d in all; want 9 of 10", open, e.Len())
	}

	// And the other way round: unauthenticated clients do not keep this machine's proxy out.
	e = newEntrance(t, Rules{Total: 10})
	for range 10 {
		e.enters("192.0.2.1")
	}
	proxied := e.enters("127.0.0.1")
	for range 50 {
		e.enters("192.0.2.2")
	}
	if proxied.closed {
		t.Error("the proxy's connection was closed for unauthenticated clients")
	}
}
