package server

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
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
		s.refused.note(refusePath) // scanners come by all day
		http.NotFound(w, r)
		return v, false
	case !room:
		if log := s.refused.count(refusalOf(why), s.Log); log != nil {
			log.Warn("refused: too many connections", "remote", v.remote, "limit", refusalOf(why).name())
		}
		tooMany(w, s.limits.request)
		return v, false
	case ban > 0:
		if log := s.refused.count(refuseBanned, s.Log); log != nil {
			log.Warn("refused: too many failed logins", "remote", v.remote, "for", ban.Round(time.Second))
		}
		tooMany(w, ban)
		return v, false
	}
	return v, true
}

// ours tells whether a request asks for our WebSocket, be it with a token or without.
func (s *Server) ours(r *http.Request) bool {
	return r.URL.Path == s.Path && r.Method == http.MethodGet && r.ProtoAtLeast(1, 1) && r.ContentLength == 0 &&
		httpguts.HeaderValuesContainsToken(r.Header["Connection"], "Upgrade") &&
		httpguts.HeaderValuesContainsToken(r.Header["Upgrade"], "websocket") &&
		httpguts.HeaderValuesContainsToken(r.Header["Sec-Websocket-Protocol"], transport.Subprotocol)
}

// refuseLogin answers a login with a wrong token or none. Whoever fails too often is not even asked for some time.
func (s *Server) refuseLogin(w http.ResponseWriter, v visitor, err error) {
	if log := s.refused.count(refuseToken, s.Log); log != nil {
		log.Warn("refused", "remote", v.remote, "err", err)
	}
	if ban := s.bans.Fail(v.source, s.limiter.Live(v.source)); ban > 0 {
		s.Log.Debug("no more logins for a while", "from", v.source, "for", ban)
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
}

// tooMany answers that there were too many, and when to come back.
func tooMany(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	http.Error(w, http.StatusText(http.StatusTooManyRequests), http.StatusTooManyRequests)
}
