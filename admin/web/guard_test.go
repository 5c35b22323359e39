package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// Nothing is shown or changed without a login.
func TestLoggedOut(t *testing.T) {
	h := newHub(2)
	b := &browser{t: t, handler: newPage(h).handler(), place: strings.Repeat("A", 43)}
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
			"/logout": 401, "/": 405, "/live": 405, "/style.css": 405, "/logout/all": 401} {
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
		"a beginning":           {token, header("Origin", origin+"0"), 403},
		"another site's page":   {token, header("Sec-Fetch-Site", "cross-site"), 403},
		"another host":          {token, host("evil.example"), 421},
		"another host's port":   {token, host("evil.example:8444"), 421},
		"localhost":             {token, host("localhost"), 421},
		"localhost, any port":   {token, host("LOCALHOST:8444"), 421},
		"localhost of evil":     {token, host("localhost.evil.example"), 421},
		"an address of evil":    {token, host("127.0.0.1.evil.example"), 421},
		"no host":               {token, host(""), 421},
		"a form in JSON":        {token, header("Content-Type", "application/json"), 403},
		"another content type":  {token, header("Content-Type", "text/plain"), 403},
		"the token in the path": {"", func(r *http.Request) { r.URL.RawQuery = "csrf=" + token }, 403},
	} {
		for _, path := range []string{"/tokens", "/tokens/laptop/revoke"} {
			form := url.Values{"name": {"phone"}}
			if f.csrf != "" {
				form.Set("csrf", f.csrf)
			}
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
	for _, name := range []string{"127.0.0.1", "127.0.0.1:9000", "[::1]:8444",
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
