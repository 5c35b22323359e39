package server

import (
	"net/http"
	"net/netip"

	"tunnel/auth"
)

// Authenticator decides which requests become sessions. *auth.Store admits holders of tokens;
// auth.AllowAll admits everybody. Its methods may be called concurrently, and are described at
// auth.Store.
type Authenticator interface {
	Admit(r *http.Request) (auth.Grant, error)
	Join(g auth.Grant, session string) (credential string, err error)
	Check(id string) error
	Reserved() map[netip.Addr]string
}
