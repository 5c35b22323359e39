package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Text of clients is text, wherever it is shown.
func TestHostileText(t *testing.T) {
	const hostile = `"><script>alert(1)</script><svg onload=x>'&lt;` + "\x00\u202e"
	h := newHub(1)
	peer := &h.status.Peers[0]
	peer.Name, peer.Remote = hostile, hostile
	peer.Connections[0].TLS = hostile
	peer.Drops = map[string]uint64{hostile: 1}
	h.status.Dev, h.status.Version = hostile, hostile
	h.status.Drops = map[string]uint64{hostile: 1}
	h.status.Limits[0].Name = hostile
	h.tokens[0].Name = hostile
	b := loggedIn(t, newPage(h))
	token := csrf(t, b.see("/tokens"))
	pages := map[string]string{"filter": b.see("/?q=" + url.QueryEscape(hostile)),
		"tokens": b.see("/tokens?q=" + url.QueryEscape(hostile)),
		"revoke": b.see("/tokens/" + url.PathEscape(hostile) + "/revoke"),
		"form": body(t, b.send(http.MethodPost, "/tokens", url.Values{"csrf": {token},
			"name": {hostile}, "networks": {hostile}}))}
	for name, page := range pages {
		if strings.Contains(page, "<script>") || strings.Contains(page, "<svg onload") ||
			!strings.Contains(page, "&lt;script&gt;alert(1)") {
			t.Errorf("%s:\n%s", name, page)
		}
	}
}

// Rates are those between two samples; the hub is asked once a second at most, by all who look, and
// never when nobody does.
func TestSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(2)
		p := newPage(h)
		b, other := loggedIn(t, p), loggedIn(t, p)
		time.Sleep(time.Hour / 2)
		if h.asked != 0 {
			t.Errorf("asked %d times while nobody looks", h.asked)
		}
		if text := b.see("/"); !strings.Contains(text, "Measured while somebody looks") {
			t.Errorf("a rate of one sample:\n%s", text)
		}
		for range 5 {
			time.Sleep(time.Second)
			h.mu.Lock()
			h.status.Received += 1e6
			h.status.Peers = slices.Clone(h.status.Peers)
			h.status.Peers[0].Received += 1e6
			h.mu.Unlock()
			for range 5 {
				b.see("/live")
				other.see("/live")
			}
		}
		text := b.see("/live")
		if h.asked != 6 || strings.Count(text, "8.0 Mbit/s") < 3 ||
			!strings.Contains(text, `<polyline class="in"`) {
			t.Errorf("asked %d times:\n%s", h.asked, text)
		}
		h.mu.Lock()
		h.status.Peers = slices.Clone(h.status.Peers)
		h.status.Peers[0].Since = h.status.Peers[0].Since.Add(1) // another session
		h.mu.Unlock()
		time.Sleep(time.Second)
		if now := p.sampler.take(); now.peers[h.status.Peers[0].Address].Known ||
			!now.peers[h.status.Peers[1].Address].Known || len(now.history) != 6 {
			t.Errorf("the sample is %+v", now)
		}
		time.Sleep(sampleGap)
		if now := p.sampler.take(); now.total.Known || len(now.history) > 0 {
			t.Errorf("after a pause: %+v", now.total)
		}
		for range 2 * maxHistory {
			time.Sleep(time.Second)
			b.see("/live")
		}
		if now := p.sampler.take(); len(now.history) != maxHistory {
			t.Errorf("%d samples are kept", len(now.history))
		}
	})
}

// Of many clients the busiest are shown, the filter finds the others, and the picture stays small.
func TestMany(t *testing.T) {
	h := newHub(1000)
	b := loggedIn(t, newPage(h))
	text := b.see("/")
	if n := strings.Count(text, `<th scope="row">client-`); n != maxRows ||
		!strings.Contains(text, "800 more clients") || !strings.Contains(text, "client-0999<small>") ||
		strings.Contains(text, "client-0007<small>") {
		t.Errorf("%d rows", n)
	}
	if n := strings.Count(text, `<g class="node client"`); n != 2*maxNodes ||
		!strings.Contains(text, "976 more") || !strings.Contains(text, ">192.168.7.0/24<") {
		t.Errorf("%d clients in the picture", n)
	}
	for filter, want := range map[string]int{"CLIENT-0007": 1, "10.1.1.199": 1, ":10007": 1, "-000": 9,
		"nobody": 0} {
		text := b.see("/live?q=" + url.QueryEscape(filter))
		if n := strings.Count(text, `<small>TLS 1.3</small>`); n != want {
			t.Errorf("%s finds %d clients", filter, n)
		}
	}
	if text := b.see("/tokens"); strings.Count(text, `<th scope="row">`) != maxRows ||
		!strings.Contains(text, "800 more tokens") {
		t.Errorf("the tokens are\n%s", text)
	}
	var took time.Duration
	for range 10 {
		begin := time.Now()
		b.see("/")
		took = max(took, time.Since(begin))
	}
	t.Logf("with 1,000 clients the page takes at most %v", took)
}
