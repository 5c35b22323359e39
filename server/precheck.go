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

// visitor is the sender of a request.
type visitor struct {
	tracked *admission.Tracked
	source  netip.Prefix // by which it is counted
	remote  string       // for the log
}

// precheck checks a request before its login. If it returns false it has answered the request: with
// 404 if it is not for this server, with 429 if too many came from its source.
func (s *Server) precheck(w http.ResponseWriter, r *http.Request) (visitor, bool) {
	// a connection has one request; the upgrade replaces this header
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
		s.refused.Note(admission.NotFound) // scanners cause many of them
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

// missing returns the first header that r lacks for our WebSocket, or "HTTP/1.1" if its version of
// HTTP is older.
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

// sameOrigin reports whether r has no Origin header, as from other programs than browsers, or that
// of this host (RFC 6454 section 7).
func sameOrigin(r *http.Request) bool {
	for _, origin := range r.Header["Origin"] {
		if u, err := url.Parse(origin); err != nil || !strings.EqualFold(u.Host, r.Host) {
			return false
		}
	}
	return true
}

// hasKey reports whether r has one valid WebSocket key: 16 bytes in base64 (RFC 6455 section 4.1).
func hasKey(r *http.Request) bool {
	keys := r.Header["Sec-Websocket-Key"]
	if len(keys) != 1 {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(keys[0]))
	return err == nil && len(key) == 16
}

// speaks reports whether r requests our subprotocol.
func speaks(r *http.Request) bool {
	return httpguts.HeaderValuesContainsToken(r.Header["Sec-Websocket-Protocol"],
		transport.Subprotocol)
}

// hint logs which header a proxy removed from the request of a client with a right token. The
// answer is the same 404 as for other requests.
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
