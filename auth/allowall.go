package auth

import (
	"net/http"
	"net/netip"
)

// AllowAll admits every request, with or without a token. All its clients share one token, which
// is Anonymous and has no limit of sessions.
type AllowAll struct{}

// Admit returns the grant of the token that all clients share.
func (AllowAll) Admit(*http.Request) (Grant, error) {
	return Grant{Token: Token{Kind: KindToken, MaxSessions: new(int)}}, nil
}

// Join returns "": there are no join tokens.
func (AllowAll) Join(Grant, string) (string, error) { return "", nil }

// Check returns nil for the token that all clients share. For any other token, which old leases may
// still name, it returns ErrRevoked.
func (AllowAll) Check(id string) error {
	if id != "" {
		return ErrRevoked
	}
	return nil
}

// Reserved returns nil: no token has an address of its own.
func (AllowAll) Reserved() map[netip.Addr]string { return nil }
