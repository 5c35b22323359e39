package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"tunnel/auth"
	"tunnel/policy"
	"tunnel/transport"
)

// ErrNoTokens means that the server admits everybody.
var ErrNoTokens = errors.New("the server lets everybody in: it has no tokens")

// tokenInterval is how often the tokens of connected clients are checked. Tokens expire by the wall
// clock, which may be set at any time, so a timer cannot be used.
const tokenInterval = 250 * time.Millisecond

// watchTokens ends the sessions of tokens that are no longer valid, until ctx ends.
func (s *Server) watchTokens(ctx context.Context) {
	ticker := time.NewTicker(tokenInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		for _, id := range s.peers.Tokens() {
			if err := s.Auth.Check(id); err != nil {
				s.endToken(id, err)
			}
		}
	}
}

// endToken ends all sessions of a token.
func (s *Server) endToken(id string, why error) {
	for _, p := range s.peers.OfToken(id) {
		p.End(&transport.CloseError{Code: transport.CodeRevoked, Reason: why.Error()})
	}
}

// tokens returns the tokens that can be administered. The error is ErrNoTokens.
func (s *Server) tokens() (*auth.Store, error) {
	store, ok := s.Auth.(*auth.Store)
	if !ok {
		return nil, ErrNoTokens
	}
	return store, nil
}

// CreateToken makes a token, and returns it with its text. The errors are those of
// auth.Store.Create and ErrNoTokens.
func (s *Server) CreateToken(spec auth.Spec) (auth.Token, string, error) {
	store, err := s.tokens()
	if err != nil {
		return auth.Token{}, "", err
	}
	token, text, err := store.Create(spec, func(spec auth.Spec) error {
		if spec.Address.IsValid() && s.Leases.Live(spec.Address) {
			return fmt.Errorf("%s is in use by another client now", spec.Address)
		}
		return s.fits(auth.Token{Address: spec.Address, Routes: spec.Routes})
	})
	if err != nil {
		return auth.Token{}, "", err
	}
	s.Leases.Reserve(store.Reserved())
	s.local.Info("token made", "token", token.Name)
	return token, text, nil
}

// RevokeToken ends a token, its sessions and its leases, and drops packets held for its clients.
// The errors are those of auth.Store.Revoke and ErrNoTokens.
func (s *Server) RevokeToken(name string) error {
	store, err := s.tokens()
	if err != nil {
		return err
	}
	token, err := store.Revoke(name)
	if err != nil {
		return err
	}
	s.endToken(token.ID, auth.ErrRevoked)
	s.drops.Count(policy.Stale, s.peers.DropHeld(token.ID))
	s.Leases.End(func(id string) bool { return id == token.ID })
	s.Leases.Reserve(store.Reserved())
	s.local.Info("token revoked", "token", name)
	return nil
}

// TokenStatus is a token with its connected clients.
type TokenStatus struct {
	auth.Token
	Sessions []Session `json:"sessions,omitempty"`
}

// Session is a client that is connected.
type Session struct {
	Address netip.Addr `json:"address"` // its own
	Remote  string     `json:"remote"`  // where it connects from
	Since   time.Time  `json:"since"`
}

// ListTokens returns all tokens by name. The error is ErrNoTokens.
func (s *Server) ListTokens() ([]TokenStatus, error) {
	store, err := s.tokens()
	if err != nil {
		return nil, err
	}
	var all []TokenStatus
	for _, t := range store.List() {
		status := TokenStatus{Token: t}
		for _, p := range s.peers.OfToken(t.ID) {
			status.Sessions = append(status.Sessions, Session{p.Address, p.Remote, p.Since})
		}
		slices.SortFunc(status.Sessions,
			func(a, b Session) int { return a.Address.Compare(b.Address) })
		all = append(all, status)
	}
	return all, nil
}
