package server_test

import (
	"errors"
	"testing"
	"time"

	"tunnel/admin/status"
	"tunnel/auth"
	"tunnel/server"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

// peerOf returns what the hub says of a member.
func (h *hub) peerOf(m *member) status.Peer {
	h.t.Helper()
	for _, p := range h.Server.Status().Peers {
		if p.Address == m.link.Address {
			return p
		}
	}
	h.t.Fatalf("%s is not among the peers", m.own())
	return status.Peer{}
}

// What clients send and get is counted, for each, also what lanes have carried that have ended.
func TestStatus(t *testing.T) {
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		c.MaxLanes, c.MaxConnections, c.MaxMemory, c.Version = 2, 10, 64<<20, "v7"
	})
	text := h.token(auth.Spec{Name: "laptop"})
	a, b := h.joinWith(text, transport.Connect{Lanes: 2}), h.join(transport.Connect{})
	one := 1
	lane := h.joinWith(text, transport.Connect{Session: a.link.Session, Lane: &one})

	const packets = 50
	for id := range packets {
		h.Device.Sends(t, tuntest.Packet("10.1.1.1", b.own(), uint32(id)))
		b.sends(tuntest.Packet(b.own(), "10.1.1.1", uint32(id)))
		h.Device.Gets(t)
	}
	size := uint64(len(tuntest.Packet("10.1.1.1", b.own(), 1)))
	b.gets(packets)
	eventually(t, func() bool { return h.peerOf(b).Sent >= packets*size })
	p := h.peerOf(b)
	// a record and a frame around each packet, and the handshake
	const around = 40
	most := packets*(size+around) + 4<<10
	if p.Sent > most || p.Received < packets*size || p.Received > most ||
		len(p.Connections) != 1 || p.Connections[0].TLS != "none" || p.Remote == "" ||
		p.Connections[0].RTT <= 0 || time.Since(p.Seen) > time.Hour {
		t.Errorf("%d packets of %d bytes each way are counted as %+v", packets, size, p)
	}

	hub := h.Server.Status()
	if hub.Version != "v7" || hub.Network.String() != "10.1.1.0/24" || len(hub.Peers) != 2 ||
		len(hub.Limits) != 3 || hub.Limits[0] != (status.Limit{Name: "addresses", Used: 2, Most: 126}) ||
		hub.Limits[1] != (status.Limit{Name: "connections", Used: 3, Most: 10}) {
		t.Errorf("the hub is %+v", hub)
	}
	two := h.peerOf(a)
	if two.Name != "laptop" || len(two.Connections) != 2 || two.Connections[1].Lane != 1 {
		t.Errorf("a peer with two lanes is %+v", two)
	}
	lane.leave()
	eventually(t, func() bool { return len(h.peerOf(a).Connections) == 1 })
	if now := h.peerOf(a); now.Received < two.Received || now.Sent < two.Sent {
		t.Errorf("with the lane its bytes are gone: %+v, then %+v", two, now)
	}

	// a packet from another's address is dropped, and counted
	b.sends(tuntest.Packet(a.own(), "10.1.1.1", 7))
	eventually(t, func() bool { return h.Server.Status().Drops["source"] == 1 })
}

// What a token's clients have sent and got is counted from the start on, also after they have left
// or were replaced, and so is what all have. A revoked token is counted with all, and has no name.
func TestUsage(t *testing.T) {
	admitted := make(chan time.Duration, 10)
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		c.Admitted = func(after time.Duration) { admitted <- after }
	})
	text := h.token(auth.Spec{Name: "laptop"})
	before := h.Server.Status()
	steady := func(what string) status.Hub {
		t.Helper()
		now := h.Server.Status()
		if now.Sent < before.Sent || now.Received < before.Received || now.Segments < before.Segments ||
			now.Drops["source"] < before.Drops["source"] {
			t.Errorf("%s: counts go back from %+v to %+v", what, before, now)
		}
		before = now
		return now
	}
	usage := func(name string) (u status.Usage) {
		for _, u := range h.Server.Status().Tokens {
			if u.Name == name {
				return u
			}
		}
		return status.Usage{Sessions: -1}
	}
	a := h.joinWith(text, transport.Connect{})
	if after := <-admitted; after <= 0 || after > patience {
		t.Errorf("admitted after %v", after)
	}
	const packets = 50
	for id := range packets {
		a.sends(tuntest.Packet(a.own(), "10.1.1.1", uint32(id)))
		h.Device.Gets(t)
	}
	size := packets * uint64(len(tuntest.Packet("10.1.1.1", a.own(), 1)))
	first := usage("laptop")
	if first.Sessions != 1 || first.Begun != 1 || first.Received < size || first.Segments == 0 ||
		steady("one client").Received < size {
		t.Errorf("it is counted as %+v", first)
	}
	b := h.joinWith(text, transport.Connect{Session: a.link.Session}) // in place of a
	steady("replaced")
	b.sends(tuntest.Packet(b.own(), "10.1.1.1", packets))
	h.Device.Gets(t)
	if second := usage("laptop"); second.Sessions != 1 || second.Begun != 2 ||
		second.Received <= first.Received {
		t.Errorf("with a new connection it is counted as %+v, after %+v", second, first)
	}
	b.leave()
	eventually(t, func() bool { return len(steady("leaving").Peers) == 0 })
	if left := usage("laptop"); left.Sessions != 0 || left.Begun != 2 ||
		left.Received < first.Received {
		t.Errorf("away it is counted as %+v, after %+v", left, first)
	}
	c := h.joinWith(text, transport.Connect{})
	if _, err := h.Server.RevokeToken("laptop"); err != nil {
		t.Fatal(err)
	}
	c.told()
	eventually(t, func() bool { return len(steady("revoked").Peers) == 0 })
	if gone := usage("laptop"); gone.Sessions != -1 || steady("forgotten").Received < first.Received {
		t.Errorf("revoked it is counted as %+v", gone)
	}
}

// eventually waits until ok returns true.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("not in time")
		}
	}
}

// Kicked clients are told when to come back, those of a token or the one of an address.
func TestKick(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	text := h.token(auth.Spec{Name: "laptop"})
	a, b, other := h.joinWith(text, transport.Connect{}), h.joinWith(text, transport.Connect{}),
		h.join(transport.Connect{})
	for _, nobody := range []string{"nobody", "10.1.1.99", ""} {
		if n, err := h.Server.Kick(nobody, 0); !errors.Is(err, server.ErrNotConnected) || n != 0 {
			t.Errorf("%q: %d, %v", nobody, n, err)
		}
	}
	if n, err := h.Server.Kick("laptop", 10*time.Minute); n != 2 || err != nil {
		t.Errorf("%d sessions ended, %v", n, err)
	}
	for _, m := range []*member{a, b} {
		_, closed := m.told()
		if after, ok := closed.AwayFor(); !ok || after != 10*time.Minute || closed.Code != 1012 {
			t.Errorf("told %+v", closed)
		}
	}
	if n, err := h.Server.Kick(other.own(), time.Second); n != 1 || err != nil {
		t.Errorf("%d sessions ended, %v", n, err)
	}
	if _, closed := other.told(); closed.Reason !=
		"the server's administrator ended the session: come back in 1 s" {
		t.Errorf("told %+v", closed)
	}
}
