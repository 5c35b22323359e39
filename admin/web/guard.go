package web

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// The headers of all answers. Nothing is loaded but from here, nothing is framed, and no copy is
// kept. The referrer is sent nowhere else; no-referrer would have browsers send "Origin: null" with
// forms.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// guarded refuses what no browser sends that shows this page: requests for other hosts (DNS
// rebinding), and changes that another page has caused.
func (p *Page) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Content-Security-Policy":      contentPolicy,
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin",
			"Referrer-Policy":              "same-origin",
			"X-Content-Type-Options":       "nosniff",
			"Cache-Control":                "no-store",
		} {
			w.Header().Set(name, value)
		}
		if _, ok := p.sessionOf(r); !ok {
			w.Header().Set("Connection", "close") // the places are for those who have logged in
		}
		switch {
		case !p.isOwn(r.Host):
			http.Error(w, "ask for localhost, for an address, or for a name of this server",
				http.StatusMisdirectedRequest)
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead && !p.isSameOrigin(r):
			http.Error(w, "this request comes from another page", http.StatusForbidden)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		next.ServeHTTP(w, r)
	})
}

// isOwn reports whether host, with a port or without, is localhost, an address, or a name of this
// hub. Any port will do: SSH may forward another.
func (p *Page) isOwn(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return strings.EqualFold(host, "localhost") || host != "" && p.Named(strings.ToLower(host))
}

// isSameOrigin reports whether the page from which a browser sends r is this one. Browsers say so
// with each request that may change something.
func (p *Page) isSameOrigin(r *http.Request) bool {
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
	}
	site := r.Header.Get("Sec-Fetch-Site")
	return strings.EqualFold(r.Header.Get("Origin"), scheme+r.Host) &&
		(site == "" || site == "same-origin")
}

// cookieName returns the name of the session's cookie. With TLS no other host can set one of that
// name.
func (p *Page) cookieName() string {
	if p.TLS != nil {
		return "__Host-tunnel"
	}
	return "tunnel"
}

// cookie returns the session's cookie with a value; without one it is taken back.
func (p *Page) cookie(value string) *http.Cookie {
	c := &http.Cookie{Name: p.cookieName(), Value: value, Path: "/", HttpOnly: true,
		Secure: p.TLS != nil, SameSite: http.SameSiteStrictMode}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

// sessionOf returns the session of a request, if it has one.
func (p *Page) sessionOf(r *http.Request) (session, bool) {
	c, err := r.Cookie(p.cookieName())
	if err != nil {
		return session{}, false
	}
	return p.logins.session(c.Value)
}

// answer answers a request of a session.
type answer func(w http.ResponseWriter, r *http.Request, s session)

// private has answer answer requests of a session, those that change something only with its token
// against forged requests. Others are sent to the login.
func (p *Page) private(answer answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s, ok := p.sessionOf(r)
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead
		switch {
		case ok && (reads || s.sent(r.PostFormValue("csrf"))):
			answer(w, r, s)
		case !ok && reads && r.URL.Path != "/live":
			http.Redirect(w, r, "/login", http.StatusSeeOther)
		case !ok:
			http.Error(w, "log in first", http.StatusUnauthorized)
		default:
			http.Error(w, "this form is of another session: load the page again",
				http.StatusForbidden)
		}
	}
}
