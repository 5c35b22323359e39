package server_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"tunnel/auth"
	"tunnel/server"
	"tunnel/transport"
)

func eight(c *server.Config) { c.MaxSessions = 8 }

// A token has as many sessions as it may; its lanes, and a client that resumes one, do not count,
// and other tokens do not notice.
func TestMaxSessions(t *testing.T) {
	h := serve(t, "10.1.1.0/24", func(c *server.Config) { c.MaxSessions, c.MaxLanes = 2, 2 })
	one := h.join(transport.Connect{Lanes: 2})
	two := h.join(transport.Connect{})
	h.lane(one, 1)
	again := h.join(transport.Connect{Session: one.link.Session})
	if again.own() != one.own() {
		t.Errorf("%s came back as %s", one.own(), again.own())
	}
	if err := h.refuses(token, transport.Connect{}); !isCode(err, transport.CodeSessions) {
		t.Errorf("one too many: %v", err)
	}
	for name, test := range map[string]struct{ own, may int }{"four": {4, 4}, "one": {1, 1},
		"any": {0, 20}} {
		text := h.token(auth.Spec{Name: name, MaxSessions: &test.own})
		for range test.may {
			h.joinWith(text, transport.Connect{})
		}
		if test.own == 0 {
			continue
		}
		if err := h.refuses(text, transport.Connect{}); !isCode(err, transport.CodeSessions) {
			t.Errorf("%s: one too many: %v", name, err)
		}
	}
	two.leave()
	h.logged("disconnected", 1)
	h.join(transport.Connect{})
	open := serve(t, "10.1.1.0/24", func(c *server.Config) {
		c.MaxSessions, c.Auth = 1,
			auth.AllowAll{}
	})
	open.join(transport.Connect{})
	open.join(transport.Connect{}) // the same token, as it were, is everybody's
}

// Sessions that come at the same moment are counted, too.
func TestMaxSessionsTogether(t *testing.T) {
	h := serve(t, "10.1.1.0/24", func(c *server.Config) { c.MaxSessions, c.MaxLanes = 8, 16 })
	idle := h.joinWith(h.token(auth.Spec{Name: "idle"}), transport.Connect{})
	idle.leave()
	h.logged("disconnected", 1)
	var mu sync.Mutex
	var group sync.WaitGroup
	var in []*member
	for range 126 {
		group.Go(func() {
			m, err := h.dial(transport.Connect{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				in = append(in, m)
			} else if !isCode(err, transport.CodeSessions) {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if len(in) != 8 {
		t.Errorf("%d sessions", len(in))
	}
	h.joinWith(h.token(auth.Spec{Name: "other"}), transport.Connect{})
	if m := h.joinWith(h.token(auth.Spec{Name: "thief"}),
		transport.Connect{Address: idle.own()}); m.own() == idle.own() {
		t.Errorf("%s is another's", m.own())
	}
	for _, m := range in {
		group.Go(m.leave)
	}
	group.Wait()
}

// A token that logs in and out without end, each time as another machine, costs nobody the address
// that it has left, and keeps nobody out. What it is told is no failed login.
func TestLoginStorm(t *testing.T) {
	h := serve(t, "10.1.1.0/26", eight) // 30 clients
	var idle []*member
	var tokens []string
	for i := range 5 {
		text := h.token(auth.Spec{Name: fmt.Sprint("idle", i)})
		m := h.joinWith(text, transport.Connect{})
		m.leave()
		idle, tokens = append(idle, m), append(tokens, text)
	}
	h.logged("disconnected", 5)
	var busy, full int
	for began := time.Now(); time.Since(began) < 2*time.Second ||
		busy == 0 && time.Since(began) < 30*time.Second; {
		m, err := h.dial(transport.Connect{})
		var many *transport.BusyError
		switch {
		case err == nil:
			m.leave()
		case errors.As(err, &many):
			if busy++; many.After != time.Second {
				t.Errorf("come back in %v", many.After)
			}
		case isCode(err, transport.CodeNoAddress), isCode(err, transport.CodeSessions):
			full++
		default:
			t.Fatal(err)
		}
	}
	if busy == 0 {
		t.Error("never told that these are too many")
	}
	h.joinWith(h.token(auth.Spec{Name: "other"}), transport.Connect{})
	for i, m := range idle {
		if again := h.joinWith(tokens[i],
			transport.Connect{Session: m.link.Session}); again.own() != m.own() {
			t.Errorf("%s came back as %s", m.own(), again.own())
		}
	}
	got := h.refusals()
	if got["logins"] != busy || got["token"] != 0 || got["banned"] != 0 {
		t.Errorf("%d were too many logins, %d had no address; counted %v", busy, full, got)
	}
}
