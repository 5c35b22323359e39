package auth

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Grant is what a request's token allows.
type Grant struct {
	Token
	text string // of a join token
}

// Errors of Admit and Join.
var (
	ErrMissing = errors.New("no token")
	ErrWrong   = errors.New("wrong token")
	ErrJoined  = errors.New("the join token was used by another client")
)

// Admit returns what the token of r allows. The token is a Bearer token in Authorization or
// TokenHeader; r.TLS has the client's certificate. The error is ErrMissing, ErrWrong or, wrapped
// with the token's name and only for a token whose secret is right, ErrExpired, ErrRevoked,
// ErrJoined or ErrCertificate. Checking takes the same time for right and wrong tokens.
func (s *Store) Admit(r *http.Request) (Grant, error) {
	text := bearer(r)
	g, settle, err := s.admit(text, r.TLS, time.Now())
	if settle {
		s.settle(g.ID, hash(text))
	}
	return g, err
}

// admit is Admit for a token's text, its connection and the time. settle reports that the token is
// a credential whose join token is still in the store.
func (s *Store) admit(text string, over *tls.ConnectionState, now time.Time) (_ Grant, settle bool,
	_ error) {
	sum := hash(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	var none [len(sum)]byte
	e := s.tokens[ID(text)]
	kept, credential, former := none[:], none[:], none[:]
	if e != nil {
		kept = e.Hash
		if e.Credential != nil {
			credential = e.Credential
		}
		if e.Former != nil {
			former = e.Former
		}
	}
	flag := none[:]
	if s.flag != nil {
		flag = s.flag.Hash
	}
	isToken, isCredential := same(sum, kept), same(sum, credential)
	isFormer, isFlag := same(sum, former), same(sum, flag)
	if isToken || isCredential {
		if err := e.certified(over); err != nil {
			return Grant{}, false, fmt.Errorf("%s: %w", e.Name, err)
		}
	}
	switch {
	case text == "":
		return Grant{}, false, ErrMissing
	case isFlag:
		e = s.flag
	case !isCredential && !isToken && !isFormer:
		return Grant{}, false, ErrWrong
	case e.Kind == kindRevoked:
		return Grant{}, false, fmt.Errorf("%s: %w", e.Name, ErrRevoked)
	case isFormer:
		return Grant{}, false, fmt.Errorf("%s: %w", e.Name, ErrJoined)
	}
	if e.Expired(now) {
		return Grant{}, false, fmt.Errorf("%s: %w", e.Name, ErrExpired)
	}
	if e != s.flag {
		s.late[e.ID] = true
	}
	e.Used = now.Round(0)
	g := Grant{Token: e.Token}
	switch {
	case isCredential && !isFlag:
		g.Kind, settle = KindCredential, true
	case e.Kind == KindJoin:
		g.text = text
	}
	return g, settle, nil
}

// settle replaces a join token by its credential, whose hash is sum, once the client has presented
// the credential and therefore has stored it. If the write fails, for example because the disk is
// full, both remain valid until a later attempt succeeds.
func (s *Store) settle(id string, sum [sha256.Size]byte) {
	defer s.changing.Lock(id)()
	e, ok := s.get(id)
	if !ok || !same(sum, e.Credential) {
		return // revoked, or done by another connection
	}
	e.Kind, e.Former, e.Hash = KindCredential, e.Hash, e.Credential
	e.Session, e.Salt, e.Credential = nil, nil, nil
	_ = s.put(&e)
}

// Join uses the join token of g for the client with this session, and returns the credential that
// the client presents from then on. The first session that calls Join gets the credential, and may
// call it again until it has presented the credential. If g is not of a join token, Join does
// nothing and returns "". The error is ErrJoined, ErrRevoked, ErrExpired or a failed write.
func (s *Store) Join(g Grant, session string) (credential string, err error) {
	if g.text == "" {
		return "", nil
	}
	who := hash(session)
	defer s.changing.Lock(g.ID)()
	e, ok := s.get(g.ID)
	switch {
	case !ok, e.Kind == kindRevoked:
		return "", ErrRevoked
	case e.Kind != KindJoin:
		return "", ErrJoined
	case e.Session == nil && e.Expired(time.Now()):
		return "", ErrExpired
	case e.Session != nil && !same(who, e.Session):
		return "", ErrJoined
	case e.Session != nil:
		return credentialOf(e.ID, g.text, session, e.Salt), nil
	}
	e.Session, e.Salt = who[:], random(32)
	e.Expires = time.Time{} // it was used in time
	credential = credentialOf(e.ID, g.text, session, e.Salt)
	sum := hash(credential)
	e.Credential = sum[:]
	if err := s.put(&e); err != nil {
		return "", err
	}
	return credential, nil
}
