package ws

import (
	"log/slog"
	"net/netip"

	"tunnel/transport/dial"
	"tunnel/transport/tcp"
)

// Hop returns the address at the other end of the TCP connection, with its zone if it is
// link-local: the server's, or that of the proxy that leads to it.
func (c *Conn) Hop() netip.Addr { return c.wire.Remote() }

// Local returns the local address of the TCP connection.
func (c *Conn) Local() netip.Addr { return c.wire.Local() }

// Known returns the addresses to which the names on the path were resolved, by host, for
// Dialer.Known of a later attempt. It is nil on the server's side.
func (c *Conn) Known() map[string]netip.Addr { return c.via.Known }

// Via returns how the connection was made; the zero Path on the server's side.
func (c *Conn) Via() dial.Path { return c.via }

// Wire returns the TCP connection, to examine it.
func (c *Conn) Wire() *tcp.Conn { return c.wire }

// Cut closes the connection without a close frame, for a peer that cannot be reached. Run returns
// at once, with an error that has no information.
func (c *Conn) Cut() { _ = c.wire.Close() }

// Security returns log attributes for the TLS of c, as far as the next machine that terminates it:
// tls, the version of TLS, and kex, the group of its key exchange as crypto/tls names it; or
// tls=none. Behind a proxy that terminates TLS, the server cannot see the client's TLS.
func (c *Conn) Security() slog.Attr {
	version, exchange := c.wire.TLS()
	if version == "none" {
		return slog.String("tls", version)
	}
	return slog.Group("", slog.String("tls", version), slog.String("kex", exchange))
}
