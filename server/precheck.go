package server

import (
	"encoding/base64"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"tunnel/auth"
	"tunnel/server/admission"
	"tunnel/transport"
)

// visitor is who sent a request.
type visitor struct {
	tracked *admission.Tracked
	source  netip.Prefix // what it is counted under
	remote  string       // for the log
}

// precheck looks at a request before its login. When it returns false the request is answered: by 404 if it is not for us,
// by 429 if too many came from there.
func (s *Server) precheck(w http.ResponseWriter, r *http.Request) (visitor, bool) {
	w.Header().Set("Connection", "close") // one request is all that a connection is for; the upgrade replaces it
	proxies := admission.Proxies(s.TrustedProxies)
	client := proxies.Client(r)
	v := visitor{tracked: admission.Of(r), source: admission.SourceOf(client), remote: r.RemoteAddr}
	if client != admission.AddressOf(r.RemoteAddr) {
		v.remote = client.String()
	} else if len(r.Header.Values("X-Forwarded-For")) > 0 && !s.hinted.Swap(true) {
		s.Log.Info("X-Forwarded-For is ignored: if a proxy is in front, name it with --trusted-proxy", "remote", v.remote)
	}
	why, room := s.limiter.Requested(v.tracked, v.source)
	switch ban := s.bans.Left(v.source); {
	case !s.ours(r):
		if ban == 0 {
			s.hint(r, v)
		}
		s.refused.note(refusePath) // scanners come by all day
		http.NotFound(w, r)
		return v, false
	case !room:
		s.refused.count(refusalOf(why), s.Log).Warn("refused: too many connections", "remote", v.remote, "limit", refusalOf(why).name())
		tooMany(w, s.limits.request)
		return v, false
	case ban > 0:
		s.refused.count(refuseBanned, s.Log).Warn("refused: too many failed logins", "remote", v.remote, "for", ban.Round(time.Second))
		tooMany(w, ban)
		return v, false
	}
	return v, true
}

// ours tells whether a request asks for our WebSocket, be it with a token or without.
func (s *Server) ours(r *http.Request) bool {
	return r.URL.Path == s.Path && r.Method == http.MethodGet && r.ContentLength == 0 && missing(r) == "" && sameOrigin(r)
}

// sameOrigin reports whether r comes from no web page, or from one of this very host: a browser says which
// (RFC 6454 section 7).
func sameOrigin(r *http.Request) bool {
	for _, origin := range r.Header["Origin"] {
		if u, err := url.Parse(origin); err != nil || !strings.EqualFold(u.Host, r.Host) {
			return false
		}
	}
	return true
}

// hint logs what a proxy in front has removed from the request of a client, which has a right token. The answer is the
// same 404 that everybody gets.
func (s *Server) hint(r *http.Request, v visitor) {
	header := missing(r)
	if header == "" || r.URL.Path != s.Path || r.Method != http.MethodGet || r.ContentLength != 0 {
		return
	}
	grant, err := s.Auth.Admit(r)
	if err != nil || grant.Anonymous() && !speaks(r) {
		return // not a client
	}
	s.refused.count(refuseUpgrade, s.Log).Warn("refused: a proxy in front removes what a WebSocket needs: have it pass WebSockets on",
		"missing", header, "remote", v.remote)
}

// missing returns the first header that a request for a WebSocket of ours needs and r has not; "HTTP/1.1" when it is an
// older version of HTTP that carries them.
func missing(r *http.Request) string {
	switch {
	case !httpguts.HeaderValuesContainsToken(r.Header["Upgrade"], "websocket"):
		return "Upgrade"
	case !httpguts.HeaderValuesContainsToken(r.Header["Connection"], "Upgrade"):
		return "Connection"
	case !speaks(r):
		return "Sec-WebSocket-Protocol"
	case !slices.Equal(r.Header["Sec-Websocket-Version"], []string{"13"}):
		return "Sec-WebSocket-Version"
	case !hasKey(r):
		return "Sec-WebSocket-Key"
	case !r.ProtoAtLeast(1, 1):
		return "HTTP/1.1"
	}
	return ""
}

// hasKey reports whether r has one key as a WebSocket handshake needs it: 16 bytes in base64 (RFC 6455 section 4.1).
func hasKey(r *http.Request) bool {
	keys := r.Header["Sec-Websocket-Key"]
	if len(keys) != 1 {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(keys[0]))
	return err == nil && len(key) == 16
}

// speaks reports whether r asks for our subprotocol.
func speaks(r *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(r.Header["Sec-Websocket-Protocol"], transport.Subprotocol)
}

// refuseLogin answers a login with a wrong token or none. Whoever fails too often is not even asked for some time. The
// realm is the server's mark: a client whose token is refused without it goes on trying, see docs/PROTOCOL.md. A client
// that has presented the secret of a token that is over is told why.
func (s *Server) refuseLogin(w http.ResponseWriter, r *http.Request, v visitor, err error) {
	s.refused.count(refuseToken, s.Log).Warn("refused", "remote", v.remote, "err", err)
	if ban := s.bans.Fail(v.source, s.limiter.Live(v.source)); ban > 0 {
		s.Log.Debug("no more logins for a while", "from", v.source, "for", ban)
	}
	challenge := `Bearer realm="` + transport.Realm + `"`
	if auth.Carries(r) {
		challenge += `, error="invalid_token"` // RFC 6750 section 3.1
	}
	if why := reason(err); why != "" {
		challenge += `, error_description="` + why + `"`
	}
	w.Header().Set("WWW-Authenticate", challenge)
	http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
}

// tooMany answers that there were too many, and when to come back.
func tooMany(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	http.Error(w, http.StatusText(http.StatusTooManyRequests), http.StatusTooManyRequests)
}
