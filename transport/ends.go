package transport

import (
	"net"
	"net/netip"
)

// Hop returns the address at the other end of the TCP connection: the server's, or that of the proxy that leads to it.
func (c *Conn) Hop() netip.Addr { return ipOf(c.wire.tcp.RemoteAddr()) }

// Local returns this machine's address that the TCP connection has.
func (c *Conn) Local() netip.Addr { return ipOf(c.wire.tcp.LocalAddr()) }

// Cut ends the connection without a word to the peer, whom nothing would reach: Run returns at once, with an error that
// says nothing.
func (c *Conn) Cut() { _ = c.wire.Close() }

func ipOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}
