package web

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tunnel/admin/audit"
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
	entries []audit.Entry
}

func (h *hub) Record(e audit.Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries = append(h.entries, e)
}

func (h *hub) Tail(n int) []audit.Entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.entries[max(len(h.entries)-n, 0):])
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

func (h *hub) RevokeToken(name string) (auth.Token, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if name != "laptop" {
		return auth.Token{}, fmt.Errorf("%s: %w", name, auth.ErrUnknown)
	}
	h.revoked = append(h.revoked, name)
	return auth.Token{ID: "id", Name: name}, nil
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
func newPage(h *hub) *Page {
	return New(Config{Hub: h, Trail: h, Named: func(host string) bool { return host == "hub.example" },
		Join: func(token string) string {
			return "tunnel connect wss://hub.example --token " + token
		},
		Networks: func() ([]netip.Prefix, bool) { return nil, false },
		Log:      slog.New(slog.DiscardHandler)})
}

const origin = "http://127.0.0.1:8444" // of the page

// browser sends requests to a handler, with the headers and cookies of a browser.
type browser struct {
	t       *testing.T
	handler http.Handler
	cookie  *http.Cookie
	place   string // of its session
}

// below returns the whole path of a page, which is below that of the session unless it is for all.
func (b *browser) below(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "?")
	first, _, _ = strings.Cut(first, "/")
	if b.place == "" || !slices.Contains([]string{"", "live", "tokens", "audit", "logout"}, first) {
		return path
	}
	return "/s/" + b.place + path
}

// send sends a request, changed by changes, and keeps the cookie of the answer.
func (b *browser) send(method, path string, form url.Values,
	changes ...func(*http.Request)) *http.Response {
	b.t.Helper()
	r := httptest.NewRequestWithContext(b.t.Context(), method, origin+b.below(path),
		strings.NewReader(form.Encode()))
	r.RemoteAddr = "192.0.2.1:1234"
	if method != http.MethodGet {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", origin)
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
	if r.StatusCode != http.StatusSeeOther || b.cookie == nil ||
		r.Header.Get("Location") != b.cookie.Path {
		t.Fatalf("login: %v", r)
	}
	b.place = strings.Trim(strings.TrimPrefix(b.cookie.Path, "/s/"), "/")
	return b
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
