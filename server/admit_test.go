package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tunnel/admin/audit"
	"tunnel/lease"
	"tunnel/server"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

func TestAdmission(t *testing.T) {
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		c.MTU, c.Qlen, c.Keepalive = 1300, 50,
			30*time.Second
	})
	seen := map[string]bool{}
	for i := range 3 {
		m := h.join(transport.Connect{})
		l := m.link
		want := fmt.Sprintf("10.1.1.%d 10.1.1.%d 10.1.1.0/24 1300 50 30s", 3+2*i, 4+2*i)
		if got := fmt.Sprint(l.Address, l.Peer, l.Network, l.MTU, l.Qlen,
			l.Keepalive); strings.Join(strings.Fields(got), " ") != want {
			t.Errorf("granted %s; want %s", got, want)
		}
		if len(l.Session) < 16 || seen[l.Session] {
			t.Errorf("session %q", l.Session)
		}
		seen[l.Session] = true
	}
	m := h.join(transport.Connect{Address: "10.1.1.201"})
	if m.own() != "10.1.1.201" {
		t.Errorf("wanted .201, got %s", m.own())
	}
	for session := range seen {
		file, err := os.ReadFile(h.File)
		if err != nil || bytes.Contains(file, []byte(session)) ||
			bytes.Contains(h.Log.Text(), []byte(session)) {
			t.Errorf("a session is in the state or in the log (%v)", err)
		}
	}
}

// All pairs of a /24 are in use at once; one more is told so, and nobody else notices.
func TestPoolFull(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	members := make([]*member, 126)
	var group sync.WaitGroup
	for i := range members {
		group.Go(func() {
			m, err := h.dial(transport.Connect{})
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
			members[i] = m
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
	_, err := h.dial(transport.Connect{})
	var closed *transport.CloseError
	if !errors.As(err, &closed) || closed.Code != transport.CodeNoAddress ||
		closed.Reason != "no free address pair in 10.1.1.0/24" {
		t.Errorf("client 127: %v", err)
	}
	seen := map[string]bool{}
	for i, m := range members {
		if seen[m.own()] {
			t.Errorf("%s twice", m.own())
		}
		seen[m.own()] = true
		h.Device.Sends(t, tuntest.Packet("10.1.1.1", m.own(), uint32(i)))
		if p := m.gets(1)[0]; tuntest.IDOf(p) != uint32(i) {
			t.Errorf("client %d got packet %d", i, tuntest.IDOf(p))
		}
		m.sends(tuntest.Packet(m.own(), "10.1.1.1", uint32(i)))
		if p := h.Device.Gets(t); tuntest.IDOf(p) != uint32(i) {
			t.Errorf("the kernel got packet %d of client %d", tuntest.IDOf(p), i)
		}
	}
	// Where one leaves, another may come, in a while.
	members[77].leave()
	h.logged("disconnected", 1)
	h.Pass(lease.LongRest)
	m := h.join(transport.Connect{})
	if m.own() != members[77].own() {
		t.Errorf("got %s; %s was free", m.own(), members[77].own())
	}
	members[77] = m
	for _, m := range members {
		group.Go(m.leave)
	}
	group.Wait()
}

// The least network: a server, two clients.
func TestSmallNetwork(t *testing.T) {
	h := serve(t, "10.9.9.8/29", nil)
	a, b := h.join(transport.Connect{}), h.join(transport.Connect{})
	if a.own() != "10.9.9.11" || b.own() != "10.9.9.13" {
		t.Errorf("granted %s and %s", a.own(), b.own())
	}
	if _, err := h.dial(transport.Connect{}); err == nil ||
		!strings.Contains(err.Error(), "10.9.9.8/29") {
		t.Errorf("a third one: %v", err)
	}
}

// A client that was connected before gets its address back, also when others came in between.
func TestResume(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	a := h.join(transport.Connect{})
	a.leave()
	b := h.join(transport.Connect{})
	again := h.join(transport.Connect{Session: a.link.Session})
	if again.own() != a.own() || again.link.Session != a.link.Session || b.own() == a.own() {
		t.Errorf("%s came back as %s; in between came %s", a.own(), again.own(), b.own())
	}
	moved := h.join(transport.Connect{Session: a.link.Session, Address: "10.1.1.99"})
	if moved.own() != "10.1.1.99" {
		t.Errorf("moved to %s", moved.own())
	}
}

// A session that is connected is taken over at once: the old connection is dead, or is told.
func TestResumeReplaces(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	old := h.join(transport.Connect{})
	began := time.Now()
	replaced := make(chan transport.CloseError, 1)
	go func() {
		_, closed := old.told()
		replaced <- closed
	}()
	m := h.join(transport.Connect{Session: old.link.Session})
	if took := time.Since(began); m.own() != old.own() || took > 5*time.Second {
		t.Errorf("%s became %s after %v", old.own(), m.own(), took)
	}
	if closed := <-replaced; closed.Code != transport.CodeReplaced || !closed.Remote ||
		closed.Reason == "" {
		t.Errorf("the old one was told %+v", closed)
	}
	h.Device.Sends(t, tuntest.Packet("10.1.1.1", m.own(), 7))
	if p := m.gets(1)[0]; tuntest.IDOf(p) != 7 {
		t.Errorf("the new one got packet %d", tuntest.IDOf(p))
	}
	// One that does not answer, because its cable is out, delays the new one by no more than the
	// close's half second.
	began = time.Now()
	third := h.join(transport.Connect{Session: old.link.Session})
	if took := time.Since(began); third.own() != old.own() || took > 3*time.Second {
		t.Errorf("%s became %s after %v", old.own(), third.own(), took)
	}
}

// Many connections with one session at the same time: one stays, the others are told, and nobody
// else gets the address.
func TestResumeTogether(t *testing.T) {
	var mu sync.Mutex
	var recorded []audit.Entry
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		c.Record = func(e audit.Entry) {
			mu.Lock()
			defer mu.Unlock()
			recorded = append(recorded, e)
		}
	})
	const session = "one-session-for-all"
	const together = 8
	type result struct {
		m      *member
		closed transport.CloseError
	}
	results := make(chan result, together)
	for range together {
		go func() {
			m, err := h.dial(transport.Connect{Session: session})
			if early := (*transport.CloseError)(nil); errors.As(err, &early) {
				results <- result{closed: *early} // replaced before it has read its address
				return
			}
			if err != nil {
				t.Error(err)
				results <- result{}
				return
			}
			_, closed := m.told()
			results <- result{m, closed}
		}()
	}
	for range together - 1 {
		r := <-results
		if r.m != nil && r.m.own() != "10.1.1.3" || r.closed.Code != transport.CodeReplaced {
			t.Errorf("one was told %+v", r.closed)
		}
	}
	other := h.join(transport.Connect{})
	if other.own() != "10.1.1.5" {
		t.Errorf("another got %s", other.own())
	}
	if err := h.Stop(); err != nil {
		t.Error(err)
	}
	if r := <-results; r.closed.Code != transport.CodeRestart {
		t.Errorf("the last one was told %+v", r.closed)
	}
	inOrder(t, recorded)
}

// inOrder expects that of the sessions with one address, one ends before the next begins.
func inOrder(t *testing.T, recorded []audit.Entry) {
	t.Helper()
	has, sessions := map[netip.Addr]uint64{}, 0
	for _, e := range recorded {
		now := has[e.Address]
		switch {
		case e.Event == audit.SessionStarted && now == 0:
			has[e.Address] = e.Session
			sessions++
		case e.Event == audit.SessionEnded && now == e.Session && e.End != nil:
			has[e.Address] = 0
		case e.Event == audit.SessionStarted || e.Event == audit.SessionEnded:
			t.Errorf("%s of %d while %d has %s", e.Event, e.Session, now, e.Address)
		}
	}
	for a, session := range has {
		if session != 0 {
			t.Errorf("session %d of %s has no end", session, a)
		}
	}
	if sessions < 2 {
		t.Errorf("%d sessions", sessions)
	}
}

// A session longer than any that a server gives out is none.
func TestEndlessSession(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	long := strings.Repeat("x", 1000)
	if m := h.join(transport.Connect{Session: long}); m.link.Session == long ||
		m.link.Session == "" {
		t.Errorf("session %q", m.link.Session)
	}
}
