package firewall_test

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"tunnel/e2e/lab"
	"tunnel/firewall"
)

// trackedBy returns how many connections a host's kernel tracks.
func trackedBy(t *testing.T, h *lab.Host) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(h.Run("cat",
		"/proc/sys/net/netfilter/nf_conntrack_count")))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// flood begins n connections to an address that does not answer, each from a port of its own and
// the next of the addresses.
func flood(t *testing.T, h *lab.Host, from []netip.Addr, to string, n int) {
	t.Helper()
	err := h.Do(func() error {
		for i := range n {
			d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(
				from[i%len(from)], uint16(20000+i)))}
			conn, err := d.DialContext(t.Context(), "udp", to)
			if err != nil {
				return err
			}
			_, err = conn.Write([]byte("x"))
			_ = conn.Close()
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestTracked has senders begin more connections than are tracked for each: those of others still
// begin. A network behind a client is one sender, whatever addresses it uses.
func TestTracked(t *testing.T) {
	s := newSite(t)
	for _, dev := range []string{"tun0", s.wan} {
		s.gateway.Sysctl("net.ipv4.conf."+dev+".forwarding", "1")
	}
	s.remote.Run("ip", "address", "add", "10.1.1.5/24", "dev", "tun0")
	for _, behind := range []string{"10.60.0.0/16", "10.61.0.0/16", "10.62.0.0/16"} {
		s.remote.Run("ip", "route", "add", "local", behind, "dev", "lo")
		s.gateway.Run("ip", "route", "add", behind, "via", "10.1.1.3")
	}
	s.outside.Run("nft", "add table ip quiet; add chain ip quiet in { type filter hook prerouting "+
		"priority -300; }; add rule ip quiet in udp dport 9 drop")
	const limit, behind = 40, 8 * 40 // by the size of the network
	set(t, s.gateway, firewall.Rules{Masquerade: prefixes("0.0.0.0/0"), Public: true,
		Tracked: &firewall.Tracked{Network: prefix("10.1.1.0/24"), Limit: limit,
			Behind: prefixes("10.60.0.0/16", "10.60.1.0/24", "10.61.0.0/16")}}, firewall.Guards{})
	many := func(first string) (all []netip.Addr) {
		for a := netip.MustParseAddr(first); len(all) < 200; a = a.Next() {
			all = append(all, a)
		}
		return all
	}
	for _, test := range []struct {
		from []netip.Addr
		most int
	}{
		{addresses("10.1.1.3"), limit},
		{many("10.60.0.1"), behind}, {many("10.60.1.1"), behind}, {many("10.61.0.1"), behind},
		{many("10.62.0.1"), 2 * limit}, // of no client
	} {
		before := trackedBy(t, s.gateway)
		flood(t, s.remote, test.from, "203.0.113.9:9", 2*test.most)
		// An address or two of other protocols, as of neighbor discovery.
		if n := trackedBy(t, s.gateway) - before; n < test.most-2 || n > test.most+5 {
			t.Errorf("%d connections from %s are tracked, want %d", n, test.from[0], test.most)
		}
	}
	cannotReach(t, s.remote, s.outside, "203.0.113.9:8000") // from 10.1.1.3
	s.remote.Run("ip", "address", "del", "10.1.1.3/24", "dev", "tun0")
	s.remote.Run("ip", "address", "replace", "10.1.1.5/24", "dev", "tun0")
	s.remote.Run("ip", "route", "replace", "default", "via", "10.1.1.1", "src", "10.1.1.5")
	reaches(t, s.remote, s.outside, "203.0.113.9:8000", "203.0.113.1")
}

// TestLimited takes the limit from this machine's kernel.
func TestLimited(t *testing.T) {
	t.Parallel()
	given := firewall.Rules{Tracked: &firewall.Tracked{Network: prefix("10.1.1.0/24")}}
	if got := given.Limited(); got.Tracked.Limit < 1 || got.Tracked.Limit > firewall.MaxTracked ||
		given.Tracked.Limit != 0 || !got.Equal(given) {
		t.Errorf("%+v of %+v", got.Tracked, given.Tracked)
	}
	if (firewall.Rules{}).Limited().Tracked != nil {
		t.Error("rules without a limit have one")
	}
}
