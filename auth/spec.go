package auth

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"time"
)

// Spec describes a token to create.
type Spec struct {
	Name    string         `json:"name"`
	Address netip.Addr     `json:"address,omitzero"` // to reserve; the zero Addr reserves none
	Routes  []netip.Prefix `json:"routes,omitempty"` // as in Token
	Expires time.Time      `json:"expires,omitzero"` // the zero Time is never
	Once    bool           `json:"once,omitempty"`   // a join token

	PushRoutes []netip.Prefix `json:"push_routes,omitempty"` // as in Token
	DNS        []netip.Addr   `json:"dns,omitempty"`         // as in Token
	Domains    []string       `json:"domains,omitempty"`     // as in Token

	MaxSessions *int `json:"max_sessions,omitempty"` // as in Token

	// common name of the client certificate that it requires; "" requires none
	CertCN string `json:"cert_cn,omitempty"`
}

// MaxName is the longest name of a token, in bytes.
const MaxName = 63

// MaxSessions is the largest Spec.MaxSessions: the number of pairs in a /8.
const MaxSessions = 1 << 23

// maxRoutes is the most routes of one token.
const maxRoutes = 256

// MaxPushRoutes is the most networks that are pushed to the clients of one token, and to all.
const MaxPushRoutes = 256

// Errors of Store.Create, Store.Set and Store.Revoke.
var (
	ErrName = errors.New("a name has letters, digits and . _ - @, begins with a letter or " +
		"digit, and has at most 63 of them")
	ErrExists  = errors.New("there is a token of that name")
	ErrUnknown = errors.New("there is no token of that name")
	ErrSpec    = errors.New("no such token can be made")
	ErrGiven   = errors.New("the server was started with this token: start it without to revoke it")
)

// IsRefusal reports whether err is one of these: what was asked for cannot be done, and nothing
// else is wrong.
func IsRefusal(err error) bool {
	for _, e := range []error{ErrName, ErrExists, ErrUnknown, ErrSpec, ErrGiven} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// CheckName returns ErrName, wrapped, if a token cannot have this name.
func CheckName(name string) error {
	if !regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]*$`).MatchString(name) ||
		len(name) > MaxName {
		return fmt.Errorf("%q: %w", name, ErrName)
	}
	return nil
}

// check returns an error if s alone rules out that a token is made of it.
func (s *Spec) check(now time.Time) error {
	if err := CheckName(s.Name); err != nil {
		return err
	}
	if _, err := netip.ParseAddr(s.Name); err == nil { // `tunnel kick` takes both
		return fmt.Errorf("%q: %w, and is no address", s.Name, ErrName)
	}
	if s.Name == flagName {
		return fmt.Errorf("%w: %q is the name of the token that a server is started with", ErrSpec,
			flagName)
	}
	if s.Address.IsValid() && !s.Address.Is4() {
		return fmt.Errorf("%w: address %s is not IPv4", ErrSpec, s.Address)
	}
	if !s.Expires.IsZero() && !s.Expires.After(now) {
		return fmt.Errorf("%w: it would expire before it is made", ErrSpec)
	}
	if err := checkCertCN(s.CertCN); err != nil {
		return err
	}
	if s.MaxSessions != nil && (*s.MaxSessions < 0 || *s.MaxSessions > MaxSessions) {
		return fmt.Errorf("%w: %d sessions are not within 0 to %d", ErrSpec, *s.MaxSessions,
			MaxSessions)
	}
	if err := checkPushRoutes(s.PushRoutes); err != nil {
		return err
	}
	return checkRoutes(s.Routes)
}

// checkRoutes returns an error if these cannot be the networks behind a client.
func checkRoutes(all []netip.Prefix) error {
	if len(all) > maxRoutes {
		return fmt.Errorf("%w: %d routes are more than %d", ErrSpec, len(all), maxRoutes)
	}
	for i, r := range all {
		if err := checkRoute(r); err != nil {
			return err
		}
		if slices.ContainsFunc(all[:i], r.Overlaps) {
			return fmt.Errorf("%w: route %s overlaps with another of its routes", ErrSpec, r)
		}
	}
	return nil
}

// checkPushRoutes returns an error if these cannot be pushed.
func checkPushRoutes(all []netip.Prefix) error {
	if len(all) > MaxPushRoutes {
		return fmt.Errorf("%w: %d networks to push are more than %d", ErrSpec, len(all),
			MaxPushRoutes)
	}
	for i, r := range all {
		if err := CheckPushRoute(r); err != nil {
			return fmt.Errorf("%w: %w", ErrSpec, err)
		}
		if slices.Contains(all[:i], r) {
			return fmt.Errorf("%w: %s is pushed twice", ErrSpec, r)
		}
	}
	return nil
}

// CheckPushRoute returns an error if r cannot be pushed to clients, which have IPv4 only.
func CheckPushRoute(r netip.Prefix) error {
	if !r.IsValid() || !r.Addr().Is4() {
		return fmt.Errorf("%s is not an IPv4 prefix like 192.168.7.0/24", r)
	}
	return forwardable(r)
}

// checkRoute returns an error if r cannot be a network behind a client.
func checkRoute(r netip.Prefix) error {
	if err := forwardable(r); err != nil {
		return fmt.Errorf("%w: route %w", ErrSpec, err)
	}
	return nil
}

// forwardable returns an error unless r is a prefix to which packets may be forwarded.
func forwardable(r netip.Prefix) error {
	if !r.IsValid() || r.Addr().Is4In6() {
		return fmt.Errorf("%s is not a prefix, like 192.168.7.0/24", r)
	}
	if r != r.Masked() {
		return fmt.Errorf("%s has host bits set, its prefix is %s", r, r.Masked())
	}
	if r.Bits() == 0 {
		return fmt.Errorf("%s is everything", r)
	}
	for _, special := range []string{
		"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10",
		"ff00::/8", "::ffff:0:0/96",
	} {
		if netip.MustParsePrefix(special).Overlaps(r) {
			return fmt.Errorf("%s overlaps with %s, which is never forwarded", r, special)
		}
	}
	return nil
}

// conflict returns an error if s has what t has. Of routes that overlap the longer one wins, so
// only the same one is a conflict.
func (s *Spec) conflict(t *Token) error {
	if s.Address.IsValid() && s.Address == t.Address {
		return fmt.Errorf("%w: address %s is reserved for %s", ErrSpec, s.Address, t.Name)
	}
	for _, r := range s.Routes {
		if slices.Contains(t.Routes, r) {
			return fmt.Errorf("%w: route %s of %s is a route of %s already", ErrSpec, r, s.Name,
				t.Name)
		}
		if t.Address.IsValid() && r.Contains(t.Address) {
			return fmt.Errorf("%w: route %s has the address %s of %s", ErrSpec, r, t.Address,
				t.Name)
		}
	}
	if s.Address.IsValid() &&
		slices.ContainsFunc(t.Routes, func(r netip.Prefix) bool { return r.Contains(s.Address) }) {
		return fmt.Errorf("%w: address %s lies in a route of %s", ErrSpec, s.Address, t.Name)
	}
	return nil
}
