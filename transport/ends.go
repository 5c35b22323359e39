package transport

import (
	"net"
	"net/netip"
)

// Hop returns the address at the other end of the TCP connection, with its zone if it is link-local: the server's, or that
// of the proxy that leads to it.
func (c *Conn) Hop() netip.Addr { return ipOf(c.wire.tcp.RemoteAddr()) }

// Local returns this machine's address that the TCP connection has.
func (c *Conn) Local() netip.Addr { return ipOf(c.wire.tcp.LocalAddr()).WithZone("") }

// Known returns the addresses that the names on the path had, by host, for Dialer.Known of a later attempt. On the server's
// side there are none.
func (c *Conn) Known() map[string]netip.Addr { return c.known }

// Cut ends the connection without a word to the peer, whom nothing would reach: Run returns at once, with an error that
// says nothing.
func (c *Conn) Cut() { _ = c.wire.Close() }

func ipOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap()
}
