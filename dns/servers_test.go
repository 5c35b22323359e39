package dns_test

import (
	"net/netip"
	"slices"
	"testing"

	"tunnel/dns"
	"tunnel/dns/dnstest"
)

// TestServersBehindLocal has a resolver of this machine that is not systemd-resolved: the servers
// that it asks are known where NetworkManager has started it.
func TestServersBehindLocal(t *testing.T) {
	t.Parallel()
	local, behind := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.168.9.1")
	m := dnstest.New(t)
	m.Write(dnstest.ResolvConf, "nameserver 127.0.0.1\n")
	if got, err := dns.Servers(); err != nil || !slices.Equal(got, []netip.Addr{local}) ||
		!dns.AreLocal(got) {
		t.Errorf("%v, %v", got, err)
	}
	m.Run("mkdir", "-p", "/run/NetworkManager")
	m.Write("/run/NetworkManager/no-stub-resolv.conf", "nameserver 192.168.9.1\n")
	if got, err := dns.Servers(); err != nil || !slices.Equal(got, []netip.Addr{local, behind}) ||
		dns.AreLocal(got) {
		t.Errorf("%v, %v", got, err)
	}
	m.Write(dnstest.ResolvConf, "nameserver 192.168.9.7\n")
	if got, err := dns.Servers(); err != nil || len(got) != 1 || dns.AreLocal(got) {
		t.Errorf("%v, %v", got, err)
	}
}
