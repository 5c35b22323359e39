package server_test

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"tunnel/server"
)

// behindProxy has the hub believe the test about where a request comes from.
func behindProxy(c *server.Config) {
	c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

func forwarded(address string) string { return "X-Forwarded-For: " + address + "\n" }

const (
	right = "GET /ws HTTP/1.1\n" + upgrade + bearer
	wrong = "GET /ws HTTP/1.1\n" + upgrade + "Authorization: Bearer wrong-horse-battery-staple\n"
)

// status is the code of the answer to a request.
func (h *hub) status(request string) int {
	h.t.Helper()
	response, _ := h.ask(request + "\n")
	return response.StatusCode
}

// Ten wrong tokens from one address, and it is not even asked any more: a right token gets the same
// answer as a wrong one. The neighbours do not notice, and it ends.
func TestBan(t *testing.T) {
	const ban = 4 * time.Second
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		behindProxy(c)
		c.Hasten(patience, ban)
	})
	attacker, neighbour := forwarded("2001:db8::1"), forwarded("2001:db8:0:1::1")
	for i := range 10 {
		if code := h.status(wrong + attacker); code != 401 {
			t.Fatalf("wrong token %d: answered %d", i, code)
		}
	}
	banned := time.Now()
	var bodies []string
	for _, request := range []string{wrong + attacker, right + attacker,
		right + forwarded("2001:db8::ffff")} {
		response, body := h.ask(request + "\n")
		wait, err := strconv.Atoi(response.Header.Get("Retry-After"))
		if response.StatusCode != 429 || err != nil || wait < 1 || wait > 4 ||
			response.Header.Get("WWW-Authenticate") != "" {
			if time.Since(banned) > ban {
				t.Fatal("this machine is too slow")
			}
			t.Errorf("answered %s, come back in %d: %v", response.Status, wait, err)
		}
		bodies = append(bodies, body)
	}
	if bodies[0] != bodies[1] || bodies[0] != "Too Many Requests\n" {
		t.Errorf("the answers differ, or say too much: %q", bodies)
	}
	if code := h.status("GET / HTTP/1.1\nHost: h\n" + attacker); code != 404 {
		t.Errorf("another path: answered %d", code)
	}
	if code := h.status(right + neighbour); code != 101 {
		t.Errorf("the neighbour: answered %d", code)
	}
	time.Sleep(time.Until(banned.Add(ban)))
	if code := h.status(right + attacker); code != 101 {
		t.Errorf("after the ban: answered %d", code)
	}
	if got := h.refusals(); got["token"] != 10 || got["banned"] != 3 || got["not_found"] != 1 {
		t.Errorf("counted %v", got)
	}
}

// A source that a right token came from is not locked out by ten failures of a neighbour, and a
// session never notices.
func TestBanSparesTheKnown(t *testing.T) {
	h := serve(t, "10.1.1.0/24", behindProxy)
	office := forwarded("192.0.2.1")
	if code := h.status(right + office); code != 101 {
		t.Fatalf("answered %d", code)
	}
	for i := range 99 {
		if code := h.status(wrong + office); code != 401 {
			t.Fatalf("wrong token %d: answered %d", i, code)
		}
	}
	if code := h.status(right + office); code != 101 {
		t.Errorf("after 99 failures: answered %d", code)
	}
	h.status(wrong + office)
	if code := h.status(right + office); code != 429 {
		t.Errorf("after 100 failures: answered %d", code)
	}
}

// A client whose session has lasted longer than a right token is remembered comes from a known
// address when it ends.
func TestBanSparesWhoeverWasThere(t *testing.T) {
	const memory = 2 * time.Second
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		behindProxy(c)
		c.Forget(memory)
	})
	office := forwarded("192.0.2.1")
	conn := h.open()
	send(t, conn, right+office+"\n")
	time.Sleep(memory + memory/4)
	_ = conn.Close()
	for until := time.Now().Add(patience); !bytes.Contains(h.Log.Text(),
		[]byte("wait for connect")); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("the session does not end")
		}
	}
	ended := time.Now()
	for i := range 11 {
		if code := h.status(wrong + office); code != 401 && time.Since(ended) < memory/2 {
			t.Errorf("wrong token %d: answered %d", i, code)
		}
	}
}

// X-Forwarded-For from a source that is no trusted proxy changes nothing: the address of this
// machine is not banned.
func TestForwardedForUntrusted(t *testing.T) {
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		c.ProxyHint = "name it with --trusted-proxy"
	})
	for i := range 30 {
		if code := h.status(wrong + forwarded("192.0.2.1")); code != 401 {
			t.Fatalf("wrong token %d: answered %d", i, code)
		}
	}
	if code := h.status(right + forwarded("192.0.2.1")); code != 101 {
		t.Errorf("answered %d", code)
	}
	_ = h.Stop()
	if log := string(h.Log.Text()); strings.Contains(log, "192.0.2.1") ||
		strings.Count(log, "--trusted-proxy") != 1 {
		t.Errorf("the log is\n%s", log)
	}
}
