package web

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"tunnel/server/admission"
)

// The headers of all answers. Nothing is loaded but from here, nothing is framed, and no copy is
// kept. The referrer, which has the path of a session, is sent to no other port, host or scheme;
// no-referrer would have browsers send "Origin: null" with forms.
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
		switch {
		case !p.isOwn(r.Host):
			http.Error(w, "ask for an address, such as 127.0.0.1, or for a name of this server",
				http.StatusMisdirectedRequest)
			return
		case r.Method != http.MethodGet && r.Method != http.MethodHead && !p.isSameOrigin(r):
			http.Error(w, "this request comes from another page", http.StatusForbidden)
			return
		}
		_, ok := p.sessionOf(r)
		p.count(w, r, ok)
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if large := new(http.MaxBytesError); errors.As(r.ParseForm(), &large) {
			http.Error(w, "the form is too large", http.StatusRequestEntityTooLarge)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isOwn reports whether host, with a port or without, is an address, or a name of this hub. Any
// port will do: SSH may forward another. localhost is no name of the page: browsers try ::1 first,
// where another user of the machine may listen.
func (p *Page) isOwn(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host != "" && p.Named(strings.ToLower(host))
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

// cookieName returns the name of the session's cookie. With TLS no page without it can set one of
// that name.
func (p *Page) cookieName() string {
	if p.TLS != nil {
		return "__Secure-tunnel"
	}
	return "tunnel"
}

// cookie returns the cookie of a session; without a value it is taken back. Browsers send a cookie
// to all ports of a host, where others may listen, but only below its path. That of a session is
// secret, and so the cookie goes nowhere else. The pages of the session are below it.
func (p *Page) cookie(s session, value string) *http.Cookie {
	c := &http.Cookie{Name: p.cookieName(), Value: value, Path: "/s/" + s.place + "/",
		HttpOnly: true, Secure: p.TLS != nil, SameSite: http.SameSiteStrictMode}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

// sessionOf returns the session of a request, if it has one: by its cookie and its path.
func (p *Page) sessionOf(r *http.Request) (session, bool) {
	c, err := r.Cookie(p.cookieName())
	below, ok := strings.CutPrefix(r.URL.Path, "/s/")
	if err != nil || !ok {
		return session{}, false
	}
	place, _, _ := strings.Cut(below, "/")
	return p.logins.session(place, c.Value, admission.SourceOf(admission.AddressOf(r.RemoteAddr)))
}

// count has the limiter keep the connection of a session. One without is closed after the answer.
func (p *Page) count(w http.ResponseWriter, r *http.Request, loggedIn bool) {
	if !loggedIn {
		w.Header().Set("Connection", "close")
	} else if of := admission.Of(r); of != nil { // nil in tests without a listener
		p.limiter.Authenticated(of)
	}
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
		case !ok && reads && !strings.HasSuffix(r.URL.Path, "/live"):
			http.Redirect(w, r, "/login", http.StatusSeeOther)
		case !ok:
			http.Error(w, "log in first", http.StatusUnauthorized)
		default:
			http.Error(w, "this form is of another session: load the page again",
				http.StatusForbidden)
		}
	}
}
