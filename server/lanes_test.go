package server_test

import (
	"strings"
	"testing"
	"time"

	"tunnel/auth"
	"tunnel/server"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

// lane connects another lane of m's session.
func (h *hub) lane(m *member, i int) *member {
	h.t.Helper()
	return h.join(transport.Connect{Session: m.link.Session, Lane: &i})
}

func fourLanes(c *server.Config) { c.MaxLanes = 4 }

// The server's word on the number of connections wins, and one that says nothing gets one.
func TestLanesGranted(t *testing.T) {
	h := serve(t, "10.1.1.0/24", fourLanes)
	for asked, want := range map[int]int{0: 1, -1: 1, 1: 1, 3: 3, 4: 4, 16: 4, 1 << 30: 4} {
		if got := h.join(transport.Connect{Lanes: asked}).link.Lanes; got != want {
			t.Errorf("asked for %d, got %d; want %d", asked, got, want)
		}
	}
}

// All lanes lead to the same client and from it, and the session lives as long as one of them does.
func TestLanes(t *testing.T) {
	h := serve(t, "10.1.1.0/24", fourLanes)
	first := h.join(transport.Connect{Lanes: 3})
	second, third := h.lane(first, 1), h.lane(first, 2)
	for i, m := range []*member{first, second, third} {
		if m.link.Address != first.link.Address || m.link.Session != first.link.Session {
			t.Errorf("lane %d got %+v", i, m.link)
		}
		m.sends(tuntest.Packet("10.1.1.3", "10.1.1.1", uint32(i)))
		if id := tuntest.IDOf(h.Device.Gets(t)); id != uint32(i) {
			t.Errorf("got packet %d; want %d", id, i)
		}
		m.sends(tuntest.Packet("10.1.1.5", "10.1.1.1", 100)) // each lane is judged
	}
	first.leave() // the one that began the session
	h.logged("lane lost", 1)
	third.leave()
	h.logged("lane lost", 2)
	// What goes to the client goes by the one that is left.
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", "10.1.1.3", 7))
	if id := tuntest.IDOf(second.gets(1)[0]); id != 7 {
		t.Errorf("got packet %d", id)
	}
	again := h.lane(second, 0)
	second.leave()
	h.logged("lane lost", 3)
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", "10.1.1.3", 8))
	if id := tuntest.IDOf(again.gets(1)[0]); id != 8 {
		t.Errorf("got packet %d", id)
	}
	again.leave()
	h.logged("disconnected", 1)
	number := 1
	if _, err := h.dial(transport.Connect{Session: first.link.Session, Lane: &number}); !isCode(err,
		transport.CodeLane) {
		t.Errorf("a lane of a session that is over: %v", err)
	}
	if got := h.drops(); got["source"] != 3 || len(got) != 1 {
		t.Errorf("drops %v", got)
	}
}

// What cannot be a lane is refused, and the session does not notice.
func TestLanesRefused(t *testing.T) {
	h := serve(t, "10.1.1.0/24", fourLanes)
	first := h.join(transport.Connect{Lanes: 2})
	sole := h.token(auth.Spec{Name: "sole", Address: first.link.Address.Next().Next()})
	alone := h.joinWith(sole, transport.Connect{Lanes: 2, Session: "the-session-of-the-sole-one"})
	attach := func(token, session string, lane int) error {
		return h.refuses(token, transport.Connect{Session: session, Lane: &lane})
	}
	for name, err := range map[string]error{
		"another session":          attach(token, "0123456789abcdef", 1),
		"another token":            attach(h.token(auth.Spec{Name: "two"}), first.link.Session, 1),
		"a number too high":        attach(sole, alone.link.Session, 2),
		"another of a sole client": attach(sole, "another", 1),
		"a session without end":    attach(token, strings.Repeat("s", 200), 1),
	} {
		if !isCode(err, transport.CodeLane) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, m := range []*member{first, alone} {
		m.sends(tuntest.Packet(m.own(), "10.1.1.1", 1))
		h.Device.Gets(t)
	}
	if got := h.refusals()["no_lane"]; got != 5 {
		t.Errorf("%d refusals counted; want 5", got)
	}
}

// A lane that has a connection gets the newer one; the old one alone is told, and what it still
// sends is dropped.
func TestLanesGhost(t *testing.T) {
	h := serve(t, "10.1.1.0/24", fourLanes)
	first := h.join(transport.Connect{Lanes: 2})
	ghost := h.lane(first, 1)
	second := h.lane(first, 1)
	if _, closed := ghost.told(); closed.Code != transport.CodeLane {
		t.Errorf("the old one was told %+v", closed)
	}
	for i, m := range []*member{first, second} {
		m.sends(tuntest.Packet("10.1.1.3", "10.1.1.1", uint32(i)))
		if id := tuntest.IDOf(h.Device.Gets(t)); id != uint32(i) {
			t.Errorf("got packet %d; want %d", id, i)
		}
	}
	// The first lane in the same way, though it began the session.
	newer := h.lane(first, 0)
	if _, closed := first.told(); closed.Code != transport.CodeLane {
		t.Errorf("the first one was told %+v", closed)
	}
	second.leave()
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", "10.1.1.3", 9))
	if id := tuntest.IDOf(newer.gets(1)[0]); id != 9 {
		t.Errorf("got packet %d", id)
	}
}

// Whatever ends the session ends all lanes, and each is told.
func TestLanesEndTogether(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(h *hub, token string, m *member)
		code transport.Code
	}{
		"replaced": {func(h *hub, token string, m *member) {
			h.joinWith(token, transport.Connect{Session: m.link.Session})
		}, transport.CodeReplaced},
		"stopped": {func(h *hub, _ string, _ *member) { h.Cancel() }, transport.CodeRestart},
		"revoked": {func(h *hub, _ string, _ *member) {
			if _, err := h.Server.RevokeToken("one"); err != nil {
				h.t.Error(err)
			}
		}, transport.CodeRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, "10.1.1.0/24", fourLanes)
			one := h.token(auth.Spec{Name: "one"})
			first := h.joinWith(one, transport.Connect{Lanes: 4})
			all := []*member{first}
			for number := range 3 {
				all = append(all,
					h.joinWith(one, transport.Connect{Session: first.link.Session,
						Lane: new(number + 1)}))
			}
			began := time.Now()
			test.end(h, one, first)
			for i, m := range all {
				if _, closed := m.told(); closed.Code != test.code {
					t.Errorf("lane %d was told %+v; want code %d", i, closed, test.code)
				}
			}
			if took := time.Since(began); took > patience/2 {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// Lanes are connections like others to those who count them.
func TestLanesAreCounted(t *testing.T) {
	h := serve(t, "10.1.1.0/24", func(c *server.Config) { c.MaxLanes, c.MaxConnections = 4, 3 })
	first := h.join(transport.Connect{Lanes: 4})
	h.lane(first, 1)
	h.lane(first, 2)
	number := 3
	if _, err := h.dial(transport.Connect{Session: first.link.Session, Lane: &number}); err == nil {
		t.Error("four connections, where three may be")
	}
}
