package server_test

import (
	"testing"
	"time"

	"tunnel/lease"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

// What is sent to a client while it is away for a moment it gets when it is back.
func TestAway(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	m := h.join(transport.Connect{})
	m.leave()
	h.logged("disconnected", 1)
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", m.own(), 1), tuntest.Packet("10.1.1.1", m.own(),
		2))
	time.Sleep(50 * time.Millisecond) // for the server to read them
	again := h.join(transport.Connect{Session: m.link.Session})
	if again.own() != m.own() {
		t.Fatalf("came back as %s", again.own())
	}
	for i, p := range again.gets(2) {
		if id := tuntest.IDOf(p); id != uint32(i+1) {
			t.Errorf("got packet %d", id)
		}
	}
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", m.own(), 3))
	if id := tuntest.IDOf(again.gets(1)[0]); id != 3 {
		t.Errorf("then got packet %d", id)
	}
	if drops := h.drops(); drops["no_peer"] != 0 || drops["stale"] != 0 {
		t.Errorf("drops %v", drops)
	}
}

// Nobody else gets it, who has the address now.
func TestAwayForGood(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	m := h.join(transport.Connect{})
	m.leave()
	h.logged("disconnected", 1)
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", m.own(), 1), tuntest.Packet("10.1.1.1", m.own(),
		2))
	time.Sleep(50 * time.Millisecond)
	h.Pass(lease.DefaultHold)
	other := h.join(transport.Connect{Address: m.own()})
	if other.own() != m.own() {
		t.Fatalf("the other has %s", other.own())
	}
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", m.own(), 3))
	if id := tuntest.IDOf(other.gets(1)[0]); id != 3 {
		t.Errorf("the other got packet %d", id)
	}
	if drops := h.drops(); drops["stale"] != 2 {
		t.Errorf("drops %v", drops)
	}
}

// A newer connection need not wait until the old one has heard of it, and gets what waited for
// that.
func TestTakeOver(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	old := h.join(transport.Connect{}) // and never answers the close frame
	began := time.Now()
	m := h.join(transport.Connect{Session: old.link.Session})
	took := time.Since(began)
	if m.own() != old.own() || took > 400*time.Millisecond {
		t.Errorf("%s took over from %s in %v", m.own(), old.own(), took)
	}
	h.logged("a newer connection resumed the session", 1) // and is gone
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", m.own(), 1))
	if id := tuntest.IDOf(m.gets(1)[0]); id != 1 {
		t.Errorf("got packet %d", id)
	}
	if other := h.join(transport.Connect{Address: m.own()}); other.own() == m.own() {
		t.Error("the address was given to another")
	}
}
