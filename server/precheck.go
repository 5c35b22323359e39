package server

import (
	"encoding/base64"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"tunnel/server/admission"
	"tunnel/transport"
)

// visitor is who sent a request.
type visitor struct {
	tracked *admission.Tracked
	source  netip.Prefix // what it is counted under
	remote  string       // for the log
}

// precheck looks at a request before its login. When it returns false the request is answered: by
// 404 if it is not for us, by 429 if too many came from there.
func (s *Server) precheck(w http.ResponseWriter, r *http.Request) (visitor, bool) {
	// one request is all that a connection is for; the upgrade replaces it
	w.Header().Set("Connection", "close")
	proxies := admission.Proxies(s.TrustedProxies)
	client := proxies.Client(r)
	v := visitor{tracked: admission.Of(r), source: admission.SourceOf(client), remote: r.RemoteAddr}
	if client != admission.AddressOf(r.RemoteAddr) {
		v.remote = client.String()
	} else if len(r.Header.Values("X-Forwarded-For")) > 0 && !s.hinted.Swap(true) {
		s.Log.Info("X-Forwarded-For is ignored: it comes from no trusted proxy",
			"remote", v.remote, "hint", s.ProxyHint)
	}
	why, room := s.limiter.Requested(v.tracked, v.source)
	switch ban := s.bans.Left(v.source); {
	case !s.ours(r):
		if ban == 0 {
			s.hint(r, v)
		}
		s.refused.Note(admission.NotFound) // scanners come by all day
		http.NotFound(w, r)
		return v, false
	case !room:
		s.refused.Count(why, s.Log).Warn("refused: too many connections", "remote", v.remote,
			"limit", why.String())
		tooMany(w, s.limits.request)
		return v, false
	case ban > 0:
		s.refused.Count(admission.Banned, s.Log).Warn("refused: too many failed logins", "remote",
			v.remote, "for", ban.Round(time.Second))
		tooMany(w, ban)
		return v, false
	}
	return v, true
}

// ours reports whether a request asks for our WebSocket, with or without a token.
func (s *Server) ours(r *http.Request) bool {
	return r.URL.Path == s.Path && r.Method == http.MethodGet && r.ContentLength == 0 &&
		missing(r) == "" && sameOrigin(r)
}

// missing returns the first header that a request for a WebSocket of ours needs and r has not;
// "HTTP/1.1" when it is an older version of HTTP that carries them.
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

// sameOrigin reports whether r comes from no web page, or from one of this very host: a browser
// says which (RFC 6454 section 7).
func sameOrigin(r *http.Request) bool {
	for _, origin := range r.Header["Origin"] {
		if u, err := url.Parse(origin); err != nil || !strings.EqualFold(u.Host, r.Host) {
			return false
		}
	}
	return true
}

// hasKey reports whether r has one key as a WebSocket handshake needs it: 16 bytes in base64 (RFC
// 6455 section 4.1).
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
	return httpguts.HeaderValuesContainsToken(r.Header["Sec-Websocket-Protocol"],
		transport.Subprotocol)
}

// hint logs what a proxy in front has removed from the request of a client, which has a right
// token. The answer is the same 404 that everybody gets.
func (s *Server) hint(r *http.Request, v visitor) {
	header := missing(r)
	if header == "" || r.URL.Path != s.Path || r.Method != http.MethodGet || r.ContentLength != 0 {
		return
	}
	grant, err := s.Auth.Admit(r)
	if err != nil || grant.Anonymous() && !speaks(r) {
		return // not a client
	}
	s.refused.Count(admission.Upgrade,
		s.Log).Warn("refused: a proxy in front removes what a WebSocket needs: have it pass "+
		"WebSockets on",
		"missing", header, "remote", v.remote)
}
