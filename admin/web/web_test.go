package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"tunnel/admin/status"
	"tunnel/auth"
	"tunnel/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hub has fixed contents, and notes what it is asked for.
type hub struct {
	mu      sync.Mutex
	status  status.Hub // guarded by mu, as all below
	tokens  []server.TokenStatus
	made    []auth.Spec
	revoked []string
	asked   int // for the status
}

func (h *hub) Status() status.Hub {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	return h.status
}

func (h *hub) ListTokens() ([]server.TokenStatus, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.tokens), nil
}

func (h *hub) CreateToken(spec auth.Spec) (auth.Token, string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if spec.Name == "taken" {
		return auth.Token{}, "", fmt.Errorf("taken: %w", auth.ErrExists)
	}
	h.made = append(h.made, spec)
	return auth.Token{Name: spec.Name}, "tnl_secret", nil
}

func (h *hub) RevokeToken(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if name != "laptop" {
		return fmt.Errorf("%s: %w", name, auth.ErrUnknown)
	}
	h.revoked = append(h.revoked, name)
	return nil
}

// changes returns what the hub was asked to change.
func (h *hub) changes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.made) + len(h.revoked)
}

// newHub returns a hub with n clients.
func newHub(n int) *hub {
	h := &hub{status: status.Hub{Dev: "tun0", Version: "v1", Started: time.Now(),
		Address: netip.MustParseAddr("10.1.0.1"), Network: netip.MustParsePrefix("10.1.0.0/16"),
		Drops: map[string]uint64{"queue_full": 3}, Refused: map[string]uint64{"token": 2},
		Limits: []status.Limit{{Name: "queue_bytes", Used: 9 << 20, Most: 10 << 20}}}}
	for i := range n {
		name := fmt.Sprintf("client-%04d", i)
		if i == 0 {
			name = "laptop"
		}
		address := netip.AddrFrom4([4]byte{10, 1, byte(1 + i/100), byte(2*(i%100) + 3)})
		h.status.Peers = append(h.status.Peers, status.Peer{Name: name, Address: address,
			Remote: fmt.Sprintf("198.51.100.2:%d", 10000+i), Since: time.Now(),
			Bytes:       status.Bytes{Sent: uint64(i), Received: uint64(i)},
			Connections: []status.Connection{{TLS: "1.3", RTT: 12.5}}})
		token := server.TokenStatus{Token: auth.Token{ID: name, Name: name, Kind: auth.KindToken},
			Sessions: []server.Session{{Address: address}}}
		if i == 0 {
			token.Routes = []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}
		}
		h.tokens = append(h.tokens, token)
	}
	return h
}

// newPage returns the page of a hub, which is named hub.example.
func newPage(h Hub) *Page {
	return New(Config{Hub: h, Named: func(host string) bool { return host == "hub.example" },
		Join: func(token string) string { return "tunnel connect wss://hub.example --token " + token },
		Log:  slog.New(slog.DiscardHandler)})
}

// browser sends requests to a handler, with the headers and cookies of a browser.
type browser struct {
	t       *testing.T
	handler http.Handler
	cookie  *http.Cookie
}

// send sends a request, changed by changes, and keeps the cookie of the answer.
func (b *browser) send(method, path string, form url.Values,
	changes ...func(*http.Request)) *http.Response {
	b.t.Helper()
	r := httptest.NewRequestWithContext(b.t.Context(), method, "http://localhost:8444"+path,
		strings.NewReader(form.Encode()))
	r.RemoteAddr = "192.0.2.1:1234"
	if method != http.MethodGet {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "http://localhost:8444")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	for _, change := range changes {
		change(r)
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	if all := w.Result().Cookies(); len(all) > 0 {
		b.cookie = all[0]
	}
	return w.Result()
}

// see returns what GET of a path shows.
func (b *browser) see(path string) string {
	b.t.Helper()
	return body(b.t, b.send(http.MethodGet, path, nil))
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// csrf returns the token in the forms of a page.
func csrf(t *testing.T, page string) string {
	t.Helper()
	m := regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no form:\n%s", page)
	}
	return m[1]
}

// loggedIn returns a browser that has logged in.
func loggedIn(t *testing.T, p *Page) *browser {
	t.Helper()
	b := &browser{t: t, handler: p.handler()}
	r := b.send(http.MethodPost, "/login", url.Values{"code": {p.Code()}})
	if r.StatusCode != http.StatusSeeOther || r.Header.Get("Location") != "/" || b.cookie == nil {
		t.Fatalf("login: %v", r)
	}
	return b
}

// Nothing is shown or changed without a login.
func TestLoggedOut(t *testing.T) {
	h := newHub(2)
	b := &browser{t: t, handler: newPage(h).handler()}
	for _, cookie := range []*http.Cookie{nil, {Name: "tunnel", Value: ""},
		{Name: "tunnel", Value: strings.Repeat("A", 43)}} {
		for path, want := range map[string]int{"/": 303, "/live": 401, "/tokens": 303,
			"/tokens/laptop/revoke": 303, "/login": 200, "/style.css": 200, "/page.js": 200,
			"/icon.svg": 200, "/nothing": 404, "/static/style.css": 404, "/login/../tokens": 307,
			"/%2e%2e/%2e%2e/etc/passwd": 404, "/style.css/../overview.html": 307,
			"/overview.html": 404} {
			b.cookie = cookie
			r := b.send(http.MethodGet, path, nil)
			text := body(t, r)
			if r.StatusCode != want || strings.Contains(text, "laptop") ||
				strings.Contains(text, "10.1.") {
				t.Errorf("GET %s: %d, want %d\n%s", path, r.StatusCode, want, text)
			}
			if want == 303 && r.Header.Get("Location") != "/login" {
				t.Errorf("GET %s leads to %s", path, r.Header.Get("Location"))
			}
		}
		for path, want := range map[string]int{"/tokens": 401, "/tokens/laptop/revoke": 401,
			"/logout": 401, "/": 405, "/live": 405, "/style.css": 405} {
			b.cookie = cookie
			r := b.send(http.MethodPost, path, url.Values{"name": {"x"}, "csrf": {""}})
			if r.StatusCode != want {
				t.Errorf("POST %s: %d, want %d", path, r.StatusCode, want)
			}
		}
	}
	if h.changes() > 0 || h.asked > 0 {
		t.Errorf("the hub was asked %d times, and changed %d times", h.asked, h.changes())
	}
}

// A code logs in once, within ten minutes, and only by POST of this page's own form.
func TestCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPage(newHub(1))
		b := &browser{t: t, handler: p.handler()}
		code := p.Code()
		for range 20 { // as what looks at links in mails does
			b.send(http.MethodGet, "/login?code="+code, nil)
			b.send(http.MethodHead, "/login?code="+code, nil)
		}
		for name, change := range map[string]func(*http.Request){
			"another origin": func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") },
			"another port":   func(r *http.Request) { r.Header.Set("Origin", "http://localhost:1") },
			"another scheme": func(r *http.Request) { r.Header.Set("Origin", "https://localhost:8444") },
			"null":           func(r *http.Request) { r.Header.Set("Origin", "null") },
			"none":           func(r *http.Request) { r.Header.Del("Origin") },
			"cross-site":     func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
			"same-site":      func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") },
		} {
			r := b.send(http.MethodPost, "/login", url.Values{"code": {code}}, change)
			if r.StatusCode != http.StatusForbidden || b.cookie != nil {
				t.Errorf("%s: %d, cookie %v", name, r.StatusCode, b.cookie)
			}
		}
		login := func(code string) int {
			b.cookie = nil
			return b.send(http.MethodPost, "/login", url.Values{"code": {code}}).StatusCode
		}
		if got := login(code); got != http.StatusSeeOther {
			t.Errorf("the code: %d", got)
		}
		c := b.cookie
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" ||
			len(c.Value) != 43 {
			t.Errorf("the cookie is %+v", c)
		}
		for text, name := range map[string]string{code: "again", code[1:]: "a part", "": "empty"} {
			if got := login(text); got != http.StatusForbidden {
				t.Errorf("%s: %d", name, got)
			}
		}
		last := p.Code()
		time.Sleep(CodeLife - time.Second)
		recent := p.Code()
		if got := login(last); got != http.StatusSeeOther {
			t.Errorf("shortly before its end: %d", got)
		}
		late := p.Code()
		time.Sleep(CodeLife)
		for _, code := range []string{recent, late} {
			if got := login(code); got != http.StatusForbidden {
				t.Errorf("after its end: %d", got)
			}
		}
	})
}

// Ten failed logins a minute ban an address, but not others; codes and sessions are bounded.
func TestLoginBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPage(newHub(1))
		b := &browser{t: t, handler: p.handler()}
		login := func(code, from string) int {
			return b.send(http.MethodPost, "/login", url.Values{"code": {code}},
				func(r *http.Request) { r.RemoteAddr = from }).StatusCode
		}
		for range 10 {
			if got := login("wrong", "192.0.2.1:1"); got != http.StatusForbidden {
				t.Fatalf("a wrong code: %d", got)
			}
		}
		code := p.Code()
		if got := login(code, "192.0.2.1:2"); got != http.StatusTooManyRequests {
			t.Errorf("a right code of an address that is banned: %d", got)
		}
		if got := login(code, "192.0.2.2:1"); got != http.StatusSeeOther {
			t.Errorf("of another address: %d", got)
		}
		time.Sleep(time.Minute)
		if got := login(p.Code(), "192.0.2.1:3"); got != http.StatusSeeOther {
			t.Errorf("after the ban: %d", got)
		}

		first := loggedIn(t, p)
		for range 10 * maxSessions {
			time.Sleep(time.Second)
			loggedIn(t, p)
		}
		for range 10 * maxCodes {
			p.Code()
		}
		if len(p.logins.codes) != maxCodes || len(p.logins.sessions) != maxSessions {
			t.Errorf("%d codes, %d sessions", len(p.logins.codes), len(p.logins.sessions))
		}
		if r := first.send(http.MethodGet, "/", nil); r.StatusCode != http.StatusSeeOther {
			t.Errorf("the session that was used last the longest ago: %d", r.StatusCode)
		}
	})
}

// A session ends after an hour without a request, after twelve hours, and by logging out.
func TestSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPage(newHub(1))
		in := func(b *browser) bool {
			return b.send(http.MethodGet, "/live", nil).StatusCode == http.StatusOK
		}
		idle, busy, done := loggedIn(t, p), loggedIn(t, p), loggedIn(t, p)
		cookie := *done.cookie
		done.send(http.MethodPost, "/logout", url.Values{"csrf": {csrf(t, done.see("/"))}})
		if done.cookie.MaxAge >= 0 {
			t.Errorf("the cookie is not taken back: %v", done.cookie)
		}
		if done.cookie = &cookie; in(done) {
			t.Error("a session goes on after logging out")
		}
		for range 23 {
			time.Sleep(time.Hour/2 + time.Minute/2)
			if !in(busy) {
				t.Fatal("a session ends that is in use")
			}
		}
		if in(idle) {
			t.Error("an idle session goes on")
		}
		time.Sleep(time.Hour / 2)
		if in(busy) {
			t.Error("a session goes on after 12 hours")
		}
	})
}

// A change takes a form of the same session, of this page, for this host; else nothing changes.
func TestForgedRequests(t *testing.T) {
	h := newHub(1)
	p := newPage(h)
	b, other := loggedIn(t, p), loggedIn(t, p)
	token, foreign := csrf(t, b.see("/tokens")), csrf(t, other.see("/tokens"))
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) {
			if r.Header.Del(name); value != "" {
				r.Header.Set(name, value)
			}
		}
	}
	host := func(name string) func(*http.Request) {
		return func(r *http.Request) { r.Host = name; r.Header.Set("Origin", "http://"+name) }
	}
	type forged struct {
		csrf   string
		change func(*http.Request)
		want   int
	}
	for name, f := range map[string]forged{
		"no token":              {"", nil, 403},
		"a part of the token":   {token[:42], nil, 403},
		"another session's":     {foreign, nil, 403},
		"no cookie":             {token, header("Cookie", ""), 401},
		"no origin":             {token, header("Origin", ""), 403},
		"another origin":        {token, header("Origin", "http://evil.example"), 403},
		"a null origin":         {token, header("Origin", "null"), 403},
		"a beginning":           {token, header("Origin", "http://localhost:84440"), 403},
		"another site's page":   {token, header("Sec-Fetch-Site", "cross-site"), 403},
		"another host":          {token, host("evil.example"), 421},
		"another host's port":   {token, host("evil.example:8444"), 421},
		"localhost of evil":     {token, host("localhost.evil.example"), 421},
		"an address of evil":    {token, host("127.0.0.1.evil.example"), 421},
		"no host":               {token, host(""), 421},
		"a form in JSON":        {token, header("Content-Type", "application/json"), 403},
		"another content type":  {token, header("Content-Type", "text/plain"), 403},
		"the token in the path": {"", func(r *http.Request) { r.URL.RawQuery = "csrf=" + token }, 403},
	} {
		for _, path := range []string{"/tokens", "/tokens/laptop/revoke"} {
			form := url.Values{"name": {"phone"}, "csrf": {f.csrf}}
			change := f.change
			if change == nil {
				change = func(*http.Request) {}
			}
			if r := b.send(http.MethodPost, path, form, change); r.StatusCode != f.want {
				t.Errorf("%s: POST %s: %d, want %d", name, path, r.StatusCode, f.want)
			}
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut,
		http.MethodDelete, http.MethodPatch, http.MethodOptions, http.MethodTrace, "REVOKE"} {
		b.send(method, "/tokens/laptop/revoke?csrf="+token, url.Values{"csrf": {token}},
			header("X-Http-Method-Override", "POST"))
		b.send(method, "/tokens?name=phone&csrf="+token, url.Values{"name": {"phone"},
			"csrf": {token}})
	}
	if h.changes() > 0 {
		t.Fatalf("changed: %v, %v", h.made, h.revoked)
	}
	for _, name := range []string{"localhost", "LOCALHOST:9000", "127.0.0.1:9000", "[::1]:8444",
		"203.0.113.1", "hub.example:8444", "Hub.Example"} {
		if r := b.send(http.MethodGet, "/", nil, host(name)); r.StatusCode != http.StatusOK {
			t.Errorf("Host: %s: %d", name, r.StatusCode)
		}
	}
	// and the form as it is
	if r := b.send(http.MethodPost, "/tokens", url.Values{"name": {"phone"}, "csrf": {token},
		"networks": {"192.168.8.0/24, 10.9.0.0/16"}}); r.StatusCode != http.StatusCreated ||
		!strings.Contains(body(t, r), "tunnel connect wss://hub.example --token tnl_secret") {
		t.Errorf("the form: %d", r.StatusCode)
	}
	if r := b.send(http.MethodPost, "/tokens/laptop/revoke", url.Values{"csrf": {token}}); r.
		StatusCode != http.StatusSeeOther {
		t.Errorf("revoke: %d", r.StatusCode)
	}
	if len(h.made) != 1 || !h.made[0].Once || time.Until(h.made[0].Expires) > joinLife ||
		len(h.made[0].Routes) != 2 || !slices.Equal(h.revoked, []string{"laptop"}) {
		t.Errorf("made %+v, revoked %v", h.made, h.revoked)
	}
}

// A token is not shown again, and what cannot be made is said in the form, which keeps its values.
func TestTokenForm(t *testing.T) {
	h := newHub(1)
	b := loggedIn(t, newPage(h))
	token := csrf(t, b.see("/tokens"))
	post := func(name, networks, kind string) (int, string) {
		r := b.send(http.MethodPost, "/tokens", url.Values{"name": {name}, "networks": {networks},
			"kind": {kind}, "csrf": {token}})
		return r.StatusCode, body(t, r)
	}
	for want, form := range map[string][2]string{
		"A name has letters":           {"", ""},
		"a name has letters":           {"-rf", ""},
		"There is a token of that":     {"taken", ""},
		"9999 is not a network like":   {"phone", "192.168.7.0/24 9999"},
		"letters, digits and . _ - @,": {"a/../b", ""},
	} {
		status, text := post(form[0], form[1], "lasting")
		if status != http.StatusUnprocessableEntity || !strings.Contains(strings.ToLower(text),
			strings.ToLower(want)) || form[0] != "" && !strings.Contains(text, `value="`+form[0]+`"`) {
			t.Errorf("%v: %d, without %q\n%s", form, status, want, text)
		}
	}
	if status, _ := post("phone", "", "lasting"); status != http.StatusCreated ||
		h.made[0].Once || !h.made[0].Expires.IsZero() {
		t.Errorf("a lasting token: %d, %+v", status, h.made)
	}
	for _, path := range []string{"/", "/tokens", "/live"} {
		if strings.Contains(b.see(path), "tnl_") {
			t.Errorf("%s shows a token", path)
		}
	}
	if r := b.send(http.MethodGet, "/tokens/nobody/revoke", nil); r.StatusCode != http.StatusNotFound {
		t.Errorf("revoke of a token that is not there: %d", r.StatusCode)
	}
	if r := b.send(http.MethodPost, "/tokens/nobody/revoke", url.Values{"csrf": {token}}); r.
		StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("revoke of a token that is not there: %d", r.StatusCode)
	}
}

// The policy lets nothing be loaded from elsewhere, and nothing inline: all answers have it, and no
// page needs more.
func TestPolicy(t *testing.T) {
	b := loggedIn(t, newPage(newHub(3)))
	for _, path := range []string{"/", "/live", "/tokens", "/tokens/laptop/revoke", "/login",
		"/style.css", "/page.js", "/icon.svg", "/nothing"} {
		r := b.send(http.MethodGet, path, nil)
		for name, want := range map[string]string{"Content-Security-Policy": contentPolicy,
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
			"Cache-Control": "no-store", "Access-Control-Allow-Origin": ""} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s: %s: %q", path, name, got)
			}
		}
		text := body(t, r)
		if strings.HasSuffix(path, ".svg") {
			continue
		}
		for _, bad := range []string{"style=", "<style", "onclick", "onload", "javascript:", "http://",
			"https://", "eval("} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %q", path, bad)
			}
		}
		if strings.Contains(strings.ReplaceAll(text, `<script src="/page.js" defer></script>`, ""),
			"<script") {
			t.Errorf("%s has another script", path)
		}
	}
}

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
		if text := b.see("/"); !strings.Contains(text, "Measured while this page is open") {
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
		if now := p.sampler.take(0); now.peers[h.status.Peers[0].Address].Known ||
			!now.peers[h.status.Peers[1].Address].Known || len(now.history) != 6 {
			t.Errorf("the sample is %+v", now)
		}
		time.Sleep(sampleGap)
		if now := p.sampler.take(0); now.total.Known || len(now.history) > 0 {
			t.Errorf("after a pause: %+v", now.total)
		}
		for range 2 * maxHistory {
			time.Sleep(time.Second)
			b.see("/live")
		}
		if now := p.sampler.take(sampleAge); len(now.history) != maxHistory {
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

// Unauthenticated connections end in time, take bounded memory, and are bounded in number.
func TestBounds(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := newPage(newHub(1))
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() { p.Serve(ctx, ln); close(served) }()
	defer func() { cancel(); <-served }()
	dial := func() net.Conn {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	answer := func(conn net.Conn, request string) string {
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(requestTimeout + 10*time.Second))
		_, _ = io.WriteString(conn, request)
		text, err := io.ReadAll(conn)
		if err != nil && !errors.Is(err, io.EOF) && len(text) == 0 {
			return err.Error()
		}
		first, _, _ := strings.Cut(string(text), "\r\n")
		return first
	}
	const post = "POST /login HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n" +
		"Content-Type: application/x-www-form-urlencoded\r\n"
	for name, test := range map[string][2]string{
		"HTTP/1.1 431 Request Header Fields Too Large": {"GET / HTTP/1.1\r\nX: " +
			strings.Repeat("x", 2*maxHeader) + "\r\n\r\n"},
		"HTTP/1.1 403 Forbidden": {post + fmt.Sprintf("Content-Length: %d\r\n\r\ncode=%s",
			5+2*maxForm, strings.Repeat("x", 2*maxForm))},
		"HTTP/1.1 400 Bad Request: missing required Host header": {"GET / HTTP/1.1\r\n\r\n"},
		"HTTP/1.1 200 OK": {"GET /login HTTP/1.1\r\nHost: localhost\r\n\r\n"},
	} {
		if got := answer(dial(), test[0]); got != name {
			t.Errorf("%q, want %q", got, name)
		}
	}
	slow := []string{"", "GET / HTTP/1.1\r\nHost: l", post + "Content-Length: 9\r\n\r\nco"}
	var all sync.WaitGroup
	begin := time.Now()
	for _, begins := range slow {
		all.Go(func() { answer(dial(), begins) })
	}
	all.Wait()
	if took := time.Since(begin); took < requestTimeout-time.Second ||
		took > requestTimeout+5*time.Second {
		t.Errorf("slow requests ended after %v", took)
	}
	var conns []net.Conn
	for range maxConnections {
		conns = append(conns, dial())
	}
	late := make(chan string, 1)
	go func() { late <- answer(dial(), "GET /login HTTP/1.1\r\nHost: localhost\r\n\r\n") }()
	select {
	case got := <-late:
		t.Errorf("one more connection than there may be is answered: %s", got)
	case <-time.After(requestTimeout / 2):
	}
	for _, c := range conns {
		_ = c.Close()
	}
	if got := <-late; got != "HTTP/1.1 200 OK" {
		t.Errorf("when others have gone: %s", got)
	}
}
