package auth

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Change is what Store.Set changes of a token. A nil field stays as it is; an empty list is none.
type Change struct {
	Routes     *[]netip.Prefix `json:"routes,omitempty"`
	PushRoutes *[]netip.Prefix `json:"push_routes,omitempty"`
	DNS        *[]netip.Addr   `json:"dns,omitempty"`
	Domains    *[]string       `json:"domains,omitempty"`
}

// apply makes c's changes to t.
func (c Change) apply(t *Token) {
	if c.Routes != nil {
		t.Routes = *c.Routes
	}
	if c.PushRoutes != nil {
		t.PushRoutes = *c.PushRoutes
	}
	if c.DNS != nil {
		t.DNS = *c.DNS
	}
	if c.Domains != nil {
		t.Domains = *c.Domains
	}
}

// Set changes a token, and returns it as it was and as it is. agree, if not nil, may refuse the
// change. The error is an ErrUnknown, or an ErrSpec for what the token cannot have.
func (s *Store) Set(name string, change Change, agree func(Spec) error) (old, now Token, _ error) {
	s.admin.Lock()
	defer s.admin.Unlock()
	all := s.List()
	at := slices.IndexFunc(all, func(t Token) bool { return t.Name == name })
	switch {
	case at < 0:
		return Token{}, Token{}, fmt.Errorf("%s: %w", name, ErrUnknown)
	case all[at].ID == flagName:
		return Token{}, Token{}, fmt.Errorf(
			"%w: %q is the token that the server was started with: make one with a name", ErrSpec,
			flagName)
	}
	defer s.changing.Lock(all[at].ID)()
	e, ok := s.get(all[at].ID)
	if !ok {
		return Token{}, Token{}, fmt.Errorf("%s: %w", name, ErrUnknown)
	}
	old = e.Token
	change.apply(&e.Token)
	spec := Spec{Name: name, Address: e.Address, Routes: e.Routes, PushRoutes: e.PushRoutes,
		DNS: e.DNS, Domains: e.Domains}
	if err := spec.check(time.Now()); err != nil {
		return Token{}, Token{}, err
	}
	for _, t := range all {
		if t.ID == e.ID || t.ID == flagName || t.Expired(time.Now()) {
			continue
		}
		if err := spec.conflict(&t); err != nil {
			return Token{}, Token{}, err
		}
	}
	if agree != nil {
		if err := agree(spec); err != nil {
			return Token{}, Token{}, fmt.Errorf("%w: %w", ErrSpec, err)
		}
	}
	now = e.Token
	if err := s.put(&e); err != nil {
		return Token{}, Token{}, err
	}
	return old, now, nil
}

// Get returns the token with this id; ok is false if it was revoked.
func (s *Store) Get(id string) (t Token, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(id)
	if e == nil || e.Kind == kindRevoked {
		return Token{}, false
	}
	return e.Token, true
}
