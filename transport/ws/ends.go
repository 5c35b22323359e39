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

// Local returns this machine's address that the TCP connection has.
func (c *Conn) Local() netip.Addr { return c.wire.Local() }

// Known returns the addresses that the names on the path had, by host, for Dialer.Known of a later
// attempt. On the server's side there are none.
func (c *Conn) Known() map[string]netip.Addr { return c.known }

// Cut ends the connection without a word to the peer, whom nothing would reach: Run returns at
// once, with an error that says nothing.
func (c *Conn) Cut() { _ = c.wire.Close() }

// Security returns, for the log, what protects c between this machine and the next that ends TLS:
// tls, the version of TLS, and kex, the group of its key exchange as crypto/tls names it; or
// tls=none. What a proxy in front does to its client is not to be seen here.
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
