package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"tunnel/auth"
	"tunnel/lease"
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
		s.networks.Expire() // others may have their networks now
	}
}

// endToken ends all sessions of a token. The caller has the networks changed.
func (s *Server) endToken(id string, why error) {
	for _, p := range s.peers.OfToken(id) {
		p.End(&transport.CloseError{Code: transport.CodeRevoked, Reason: why.Error()})
	}
	s.networks.Forget(func(h lease.Holder) bool { return h.Token == id })
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
	token, text, err := store.Create(spec, s.agrees)
	if err != nil {
		return auth.Token{}, "", err
	}
	s.Leases.Reserve(store.Reserved())
	s.networks.Changed()
	s.local.Info("token made", "token", token.Name)
	return token, text, nil
}

// agrees returns an error if a client has the address of a token that is to be made, or the token
// does not fit this network or machine.
func (s *Server) agrees(spec auth.Spec) error {
	if spec.Address.IsValid() && s.Leases.Live(spec.Address) {
		return fmt.Errorf("%s is in use by another client now", spec.Address)
	}
	return s.networks.FitsMachine(spec)
}

// SetToken changes a token, and returns it. Connected clients are told: one whose own networks
// change reconnects at once. The errors are those of auth.Store.Set and ErrNoTokens.
func (s *Server) SetToken(name string, change auth.Change) (auth.Token, error) {
	store, err := s.tokens()
	if err != nil {
		return auth.Token{}, err
	}
	_, now, err := store.Set(name, change, s.networks.FitsMachine)
	if err != nil {
		return auth.Token{}, err
	}
	s.networks.Changed()
	s.local.Info("token changed", "token", name, "routes", now.Routes, "push_routes",
		now.PushRoutes, "dns", now.DNS, "domains", now.Domains)
	return now, nil
}

// RevokeToken ends a token, its sessions, leases and connections, drops packets held for its
// clients, and returns it as it was. The errors are those of auth.Store.Revoke and ErrNoTokens.
func (s *Server) RevokeToken(name string) (auth.Token, error) {
	store, err := s.tokens()
	if err != nil {
		return auth.Token{}, err
	}
	token, err := store.Revoke(name)
	if err != nil {
		return auth.Token{}, err
	}
	s.endToken(token.ID, auth.ErrRevoked)
	s.networks.Changed() // others may have its networks now
	s.drops.Count(policy.Stale, s.peers.DropHeld(token.ID))
	ended := s.Leases.End(func(id string) bool { return id == token.ID })
	s.Leases.Reserve(store.Reserved())
	ctx, cancel := context.WithTimeout(context.Background(), severTime)
	defer cancel()
	if err := s.Sever(ctx, append(ended, s.networks.Apart(token.Routes)...)...); err != nil {
		s.local.Warn("connections of a revoked token go on", "token", name, "err", err)
	}
	s.local.Info("token revoked", "token", name)
	return token, nil
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
