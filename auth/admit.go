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

// Admit tells what the token of r allows, which comes as Bearer in Authorization or TokenHeader,
// over the connection of r.TLS. The error is ErrMissing, ErrWrong or, with the token's name,
// ErrExpired, ErrRevoked, ErrJoined or ErrCertificate, for which the whole secret is needed. A
// wrong token takes as long as a right one, whatever is wrong with it.
func (s *Store) Admit(r *http.Request) (Grant, error) {
	text := bearer(r)
	g, settle, err := s.admit(text, r.TLS, time.Now())
	if settle {
		s.settle(g.ID, hash(text))
	}
	return g, err
}

// admit is Admit for a token's text and its connection at a time. settle reports that it is the
// credential of a join token that is still there.
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
	isToken, isCredential, isFormer, isFlag := same(sum, kept), same(sum, credential), same(sum,
		former), same(sum, flag)
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

// settle makes a join token its credential, whose hash is sum, now that the client has shown that
// it stored it. Should the disk be full the two stay side by side until it is not.
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
// the client is to come back with. Of all who try, the first one gets it; it may ask again, until
// it has come with the credential. For any other grant Join does nothing and returns "". The error
// is ErrJoined, ErrRevoked, ErrExpired, or why it could not be written.
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
