package ws

import (
	"crypto/tls"
	"log/slog"
	"net/netip"
	"strings"
)

// Hop returns the address at the other end of the TCP connection, with its zone if it is
// link-local: the server's, or that of the proxy that leads to it.
func (c *Conn) Hop() netip.Addr { return c.wire.Remote() }

// Local returns the local address of the TCP connection.
func (c *Conn) Local() netip.Addr { return c.wire.Local() }

// Known returns the addresses to which the names on the path were resolved, by host, for
// Dialer.Known of a later attempt. It is nil on the server's side.
func (c *Conn) Known() map[string]netip.Addr { return c.known }

// Cut closes the connection without a close frame, for a peer that cannot be reached. Run returns
// at once, with an error that has no information.
func (c *Conn) Cut() { _ = c.wire.Close() }

// Security returns log attributes for the TLS of c, as far as the next machine that terminates it:
// tls, the version of TLS, and kex, the group of its key exchange as crypto/tls names it; or
// tls=none. Behind a proxy that terminates TLS, the server cannot see the client's TLS.
func (c *Conn) Security() slog.Attr {
	state := c.wire.Security()
	if state == nil {
		return slog.String("tls", "none")
	}
	kex := "none" // TLS 1.2 has none when it resumes a session
	if state.CurveID != 0 {
		kex = state.CurveID.String()
	}
	version := strings.TrimPrefix(tls.VersionName(state.Version), "TLS ")
	return slog.Group("", slog.String("tls", version), slog.String("kex", kex))
}
