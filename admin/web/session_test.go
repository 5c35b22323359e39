package web

import (
	"net/http"
	"net/url"
	"regexp"
	"testing"
	"testing/synctest"
	"time"
)

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
			"another port":   func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:1") },
			"another scheme": func(r *http.Request) { r.Header.Set("Origin", "https://127.0.0.1:8444") },
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
		below := regexp.MustCompile("^/s/[A-Za-z0-9_-]{43}/$")
		if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || !below.MatchString(c.Path) ||
			c.Domain != "" ||
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

// Codes and sessions are bounded.
func TestLoginBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPage(newHub(1))
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

// Logging out everywhere ends all sessions, and codes that nobody has used.
func TestLogoutAll(t *testing.T) {
	p := newPage(newHub(1))
	one, other, code := loggedIn(t, p), loggedIn(t, p), p.Code()
	form := url.Values{"csrf": {csrf(t, one.see("/tokens"))}}
	if r := other.send(http.MethodPost, "/logout/all", form); r.StatusCode != http.StatusForbidden {
		t.Errorf("with another's form: %d", r.StatusCode)
	}
	if r := one.send(http.MethodPost, "/logout/all", form); r.StatusCode != http.StatusSeeOther {
		t.Errorf("log out everywhere: %d", r.StatusCode)
	}
	if r := other.send(http.MethodGet, "/live", nil); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("another session goes on: %d", r.StatusCode)
	}
	if r := (&browser{t: t, handler: p.handler()}).send(http.MethodPost, "/login",
		url.Values{"code": {code}}); r.StatusCode != http.StatusForbidden {
		t.Errorf("an old link logs in: %d", r.StatusCode)
	}
}

// A request that is refused for its host does not keep a session alive.
func TestRefusedIsNoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loggedIn(t, newPage(newHub(1)))
		for range 2 {
			time.Sleep(sessionIdle - time.Minute)
			b.send(http.MethodGet, "/live", nil, func(r *http.Request) { r.Host = "evil.example" })
		}
		if r := b.send(http.MethodGet, "/live", nil); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("the session: %d", r.StatusCode)
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
