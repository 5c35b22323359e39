package server

import (
	"net/http"
	"net/netip"
	"time"

	"tunnel/admin/audit"
	"tunnel/server/admission"
	"tunnel/transport/ws/upgrade"
)

// visitor is the sender of a request.
type visitor struct {
	tracked *admission.Tracked
	source  netip.Prefix // by which it is counted
	remote  string       // for the log
}

// known returns what an entry of the audit log says of v.
func (v visitor) known() audit.Entry { return audit.Entry{Remote: v.remote} }

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
		s.refusal(admission.Banned, v.known(), nil, s.Log).Warn("refused: too many failed logins",
			"remote", v.remote, "for", ban.Round(time.Second))
		tooMany(w, ban)
		return v, false
	}
	return v, true
}

// ours reports whether a request asks for our WebSocket, with or without a token.
func (s *Server) ours(r *http.Request) bool {
	return r.URL.Path == s.Path && r.Method == http.MethodGet && r.ContentLength == 0 &&
		upgrade.Missing(r) == "" && upgrade.SameOrigin(r)
}

// hint logs which header a proxy removed from the request of a client with a right token. The
// answer is the same 404 as for other requests.
func (s *Server) hint(r *http.Request, v visitor) {
	header := upgrade.Missing(r)
	if header == "" || r.URL.Path != s.Path || r.Method != http.MethodGet || r.ContentLength != 0 {
		return
	}
	grant, err := s.Auth.Admit(r)
	if err != nil || grant.Anonymous() && !upgrade.Speaks(r) {
		return // not a client
	}
	s.refusal(admission.Upgrade, v.known(), nil, s.Log).Warn("refused: a proxy in front removes "+
		"what a WebSocket needs: have it pass WebSockets on", "missing", header, "remote", v.remote)
}
