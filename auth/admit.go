package auth

import (
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

// Admit tells what the token of r allows, which comes as Bearer in Authorization or TokenHeader. The error is ErrMissing, ErrWrong or, with
// the token's name, ErrExpired. A wrong token takes as long as a right one, whatever is wrong with it.
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
	switch {
	case text == "":
		return Grant{}, ErrMissing
	case isFlag:
		e = s.flag
	case isCredential:
		e = s.settle(e)
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

// settle makes a join token its credential, now that the client has shown that it stored it; the caller holds mu. Should
// the disk be full the two stay side by side until it is not.
func (s *Store) settle(e *entry) *entry {
	settled := *e
	settled.Kind, settled.Hash = KindCredential, e.Credential
	settled.Session, settled.Salt, settled.Credential = nil, nil, nil
	if err := s.write(&settled); err != nil {
		return e
	}
	return s.tokens[e.ID]
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
	if err := s.write(&used); err != nil {
		return "", err
	}
	return credential, nil
}
