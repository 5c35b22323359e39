package auth

import (
	"crypto/sha256"
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

// Admit tells what the token of r allows, which comes as Bearer in Authorization or TokenHeader, over the connection of
// r.TLS. The error is ErrMissing, ErrWrong or, with the token's name, ErrExpired or ErrCertificate. A wrong token takes as
// long as a right one, whatever is wrong with it.
func (s *Store) Admit(r *http.Request) (Grant, error) {
	if s == nil {
		return Grant{Token: Token{Kind: KindToken}}, nil
	}
	text := bearer(r)
	sum := hash(text)
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var none [len(sum)]byte
	e := s.tokens[ID(text)]
	kept, credential := none[:], none[:]
	if e != nil {
		kept = e.Hash
		if e.Credential != nil {
			credential = e.Credential
		}
	}
	flag := none[:]
	if s.flag != nil {
		flag = s.flag.Hash
	}
	isToken, isCredential, isFlag := same(sum, kept), same(sum, credential), same(sum, flag)
	if isToken || isCredential {
		if err := e.certified(r.TLS); err != nil {
			return Grant{}, fmt.Errorf("%s: %w", e.Name, err)
		}
	}
	switch {
	case text == "":
		return Grant{}, ErrMissing
	case isFlag:
		e = s.flag
	case isCredential:
		if e = s.settle(e.ID, sum); e == nil {
			return Grant{}, ErrWrong // revoked meanwhile
		}
	case !isToken:
		return Grant{}, ErrWrong
	}
	if e.Expired(now) {
		return Grant{}, fmt.Errorf("%s: %w", e.Name, ErrExpired)
	}
	if e != s.flag {
		s.late[e.ID] = true
	}
	e.Used = now.Round(0)
	g := Grant{Token: e.Token}
	switch {
	case isCredential: // also where settle has failed
		g.Kind = KindCredential
	case e.Kind == KindJoin:
		g.text = text
	}
	return g, nil
}

// settle makes the join token with this id its credential, whose hash is sum, now that the client has shown that it
// stored it. It returns the entry that sum opens, nil if none does any more; the caller holds mu, which is let
// go meanwhile. Should the disk be full the two stay side by side until it is not.
func (s *Store) settle(id string, sum [sha256.Size]byte) *entry {
	s.claim(id)
	defer s.unclaim(id)
	e := s.tokens[id]
	switch {
	case e == nil: // revoked
		return nil
	case e.Credential == nil && same(sum, e.Hash): // settled by another connection of this client
		return e
	case e.Credential == nil:
		return nil
	}
	settled := *e
	settled.Kind, settled.Hash = KindCredential, e.Credential
	settled.Session, settled.Salt, settled.Credential = nil, nil, nil
	_ = s.write([]*entry{&settled})
	return s.tokens[id]
}

// Join uses the join token of g for the client with this session, and returns the credential that the client is to come
// back with. Of all who try, the first one gets it; it may ask again, until it has come with the credential. For any other
// grant Join does nothing and returns "". The error is ErrJoined, ErrRevoked, ErrExpired, or why it could not be written.
func (s *Store) Join(g Grant, session string) (credential string, err error) {
	if g.text == "" {
		return "", nil
	}
	who := hash(session)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claim(g.ID)
	defer s.unclaim(g.ID)
	e := s.tokens[g.ID]
	switch {
	case e == nil:
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
	used := *e
	used.Session, used.Salt = who[:], random(32)
	used.Expires = time.Time{} // it was used in time
	credential = credentialOf(e.ID, g.text, session, used.Salt)
	sum := hash(credential)
	used.Credential = sum[:]
	if err := s.write([]*entry{&used}); err != nil {
		return "", err
	}
	return credential, nil
}
