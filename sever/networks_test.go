package sever_test

import (
	"net"
	"net/netip"
	"testing"

	"tunnel/sever"
)

// TestNetworks ends what has an address in one of several networks of any size, of both families
// and among many other networks, and nothing beside their edges.
func TestNetworks(t *testing.T) {
	machine(t)
	inside := []string{"10.20.0.1", "10.20.3.254", "10.30.0.8", "10.30.0.15", "10.40.0.1", "fd00:1::1",
		"fd00:1::ffff"}
	outside := []string{"10.19.255.254", "10.20.4.1", "10.30.0.7", "10.30.0.16", "10.40.0.2",
		"fd00:0:ffff::1", "fd00:1:0:1::1"}
	all := []netip.Prefix{
		netip.MustParsePrefix("10.20.0.0/22"), netip.MustParsePrefix("10.30.0.8/29"),
		netip.MustParsePrefix("10.40.0.1/32"), netip.MustParsePrefix("fd00:1::/64"),
	}
	for i := range 256 { // of which no socket is
		all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100, byte(i)}), 24))
	}
	hub, hub6 := listen(t, "10.1.1.1:0"), listen(t, "[::1]:0")
	dual := listen(t, "[::]:0") // its connections are IPv6 sockets, also those with IPv4 addresses
	conns := map[string][]net.Conn{}
	for _, a := range append(append([]string{}, inside...), outside...) {
		options, to, host := "/32 dev lo", hub, "10.1.1.1"
		if netip.MustParseAddr(a).Is6() {
			options, to, host = "/128 dev lo nodad", hub6, "::1"
		}
		run(t, "ip addr add "+a+options)
		near, far := connect(t, a, to, host)
		nearDual, farDual := connect(t, a, dual, host)
		udp, err := new(net.Dialer).DialContext(t.Context(), "udp", net.JoinHostPort(a, "9"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = udp.Close() })
		conns[a] = []net.Conn{near, far, nearDual, farDual, udp}
	}
	r, err := sever.Networks(t.Context(), all...)
	// The reset of one end may end the other before it is found.
	if err != nil || r.TCP < 2*len(inside) || r.UDP != len(inside) || r.Conntrack < 2*len(inside) {
		t.Errorf("%+v, %v", r, err)
	}
	for _, a := range inside {
		for i, c := range conns[a] {
			if _, err := c.Write([]byte("x")); err == nil {
				t.Errorf("%s: connection %d goes on", a, i)
			}
		}
	}
	for _, a := range outside {
		for i, c := range conns[a] {
			if _, err := c.Write([]byte("x")); err != nil {
				t.Errorf("%s: connection %d: %v", a, i, err)
			}
		}
	}
}
