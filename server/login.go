package server

import (
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"tunnel/admin/audit"
	"tunnel/auth"
	"tunnel/server/admission"
	"tunnel/transport"
	"tunnel/transport/tcp"
)

// client is who has logged in.
type client struct {
	grant auth.Grant
	known audit.Entry  // what an entry of the audit log says of it
	log   *slog.Logger // for lines about it
}

// login authenticates a request. If it returns false it has answered the request.
func (s *Server) login(w http.ResponseWriter, r *http.Request, from visitor) (client, bool) {
	r.TLS = tcp.RequestTLS(r.Context()) // as net/http does where it does TLS itself
	grant, err := s.Auth.Admit(r)
	if err != nil {
		s.refuseLogin(w, r, from, err)
		return client{}, false
	}
	known := from.known()
	known.Token, known.TokenID, known.Subject = grant.Name, grant.ID, auth.Subject(r.TLS)
	if !grant.Anonymous() {
		if wait := s.logins.Wait(grant.ID, s.quota(grant.Token), time.Now()); wait > 0 {
			s.refusal(admission.TooManyLogins, known, nil, s.Log).Warn("refused: too many logins with one "+
				"token", "remote", from.remote, "token", grant.Name)
			tooMany(w, wait)
			return client{}, false
		}
	}
	// after the limit: one token cannot make more sources known than it has logins
	s.bans.Succeed(from.source)
	s.limiter.Authenticated(from.tracked)
	log := s.Log.With("remote", from.remote)
	if !grant.Anonymous() {
		log = log.With("token", grant.Name)
	}
	if known.Subject != "" {
		log = log.With("cert", known.Subject)
	}
	return client{grant, known, log}, true
}

// quota returns the limits of a token.
func (s *Server) quota(t auth.Token) admission.Quota {
	sessions := s.MaxSessions
	if t.MaxSessions != nil {
		sessions = *t.MaxSessions
	}
	return admission.Quota{Sessions: sessions, Lanes: s.lanes(transport.MaxLanes)}
}

// refuseLogin answers a login with a wrong token or none. A source with too many failures is banned
// for some time. The realm identifies this server: a client whose token is refused without it keeps
// trying, see docs/PROTOCOL.md. A client that presented the right secret of a token that is no
// longer valid is told why.
func (s *Server) refuseLogin(w http.ResponseWriter, r *http.Request, from visitor, err error) {
	s.refusal(admission.Token, from.known(), err, s.Log).Warn("refused", "remote", from.remote,
		"err", err)
	if ban := s.bans.Fail(from.source, s.limiter.Live(from.source)); ban > 0 {
		s.Log.Debug("no more logins for a while", "from", from.source, "for", ban)
	}
	challenge := `Bearer realm="` + transport.Realm + `"`
	if auth.Carries(r) {
		challenge += `, error="invalid_token"` // RFC 6750 section 3.1
	}
	if why := whyOver(err); why != "" {
		challenge += `, error_description="` + why + `"`
	}
	w.Header().Set("WWW-Authenticate", challenge)
	http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
}

// whyOver returns why a token is not valid, or cannot be used; "" if err is another error.
func whyOver(err error) string {
	for _, why := range []error{auth.ErrRevoked, auth.ErrExpired, auth.ErrJoined} {
		if errors.Is(err, why) {
			return why.Error()
		}
	}
	return ""
}

// tooMany answers 429 Too Many Requests, with the time after which to come back.
func tooMany(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	http.Error(w, http.StatusText(http.StatusTooManyRequests), http.StatusTooManyRequests)
}
