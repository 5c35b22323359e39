package host_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/route"
)

// A rule that leads only packets from this side's own address past the route is noticed, on either
// side.
func TestKernelNotUsedFromOwnAddress(t *testing.T) {
	for name, pair := range map[string]host.Want{
		"client": pair("10.1.1.3", "10.1.1.4"),
		"server": pair("10.1.1.1", "10.1.1.2"),
	} {
		t.Run(name, func(t *testing.T) {
			behindGateway(t)
			r, _ := newRouter(t, t.TempDir())
			iptest.IP(t, "route add default via 192.168.107.2 table 60")
			iptest.IP(t, "rule add pref 50 from 10.0.0.0/8 lookup 60")
			err := r.Apply(t.Context(), pair)
			want := "packets to 10.1.1.0/24 from " + pair.Addresses[0].Local.String() +
				" leave by ens160, not by tun0 (table 60)"
			if !errors.Is(err, route.ErrNotUsed) || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
			iptest.IP(t, "rule del pref 50")
			if err := r.Apply(t.Context(), pair); err != nil {
				t.Errorf("without the rule: %v", err)
			}
		})
	}
}

// What rules do to other protocols than that of the connection does not count.
func TestKernelRulesOfOtherProtocols(t *testing.T) {
	behindGateway(t)
	r, recorder := newRouter(t, t.TempDir())
	iptest.IP(t, "rule add pref 50 ipproto udp unreachable")
	if err := r.Bypass(t.Context(), port("101.43.253.110")); err != nil ||
		recorder.Transcript() != addBypass {
		t.Errorf("%v, ran\n%s", err, recorder.Transcript())
	}
	if way, err := r.NextHop(t.Context(), port("101.43.253.110")); err != nil || way.Dev != "ens160" {
		t.Errorf("the way is %+v, %v", way, err)
	}
}

// A rule that rejects the network's packets is named before they ever passed, as it is later: the
// kernel refuses the route, and says that a gateway is invalid.
func TestKernelRuleRejects(t *testing.T) {
	for _, rule := range []string{"prohibit", "unreachable", "blackhole", "lookup 60"} {
		t.Run(rule, func(t *testing.T) {
			behindGateway(t)
			r, _ := newRouter(t, t.TempDir())
			iptest.IP(t, "route add default via 192.168.107.2 table 60")
			iptest.IP(t, "rule add pref 50 to 10.0.0.0/8 "+rule)
			want := pair("10.1.1.3", "10.1.1.4")
			err := r.Apply(t.Context(), want)
			if !errors.Is(err, route.ErrNotUsed) ||
				!strings.Contains(err.Error(), "packets to 10.1.1.0/24") {
				t.Errorf("got %v", err)
			}
			iptest.IP(t, "rule del pref 50")
			if err := r.Apply(t.Context(), want); err != nil {
				t.Errorf("without the rule: %v", err)
			}
		})
	}
}

// A rule for the server's port decides about the bypass, also where more specific routes of the
// main table, as the bypass is, go before it.
func TestKernelRulesByPort(t *testing.T) { testRuleOf(t, "ipproto tcp dport 443") }

// So does one for the user as which the program connects.
func TestKernelRulesByUser(t *testing.T) { testRuleOf(t, "uidrange 4321-4321") }

func testRuleOf(t *testing.T, connection string) {
	t.Helper()
	behindGateway(t)
	r, recorder := newRouter(t, t.TempDir())
	iptest.IP(t, "route replace default via 192.168.107.66")
	iptest.IP(t, "route add default via 192.168.107.2 table 60")
	iptest.IP(t, "rule add pref 50 lookup main suppress_prefixlength 0")
	iptest.IP(t, "rule add pref 60 "+connection+" lookup 60")
	r.User = 4321
	for range 2 { // the second time it is found to be right
		if err := r.Bypass(t.Context(), port("101.43.253.110")); err != nil ||
			recorder.Transcript() != addBypass {
			t.Errorf("%v, ran\n%s", err, recorder.Transcript())
		}
	}
	// By another port, or for another user, the address lies behind the default route.
	r.User = 4322
	err := r.Bypass(t.Context(), netip.AddrPortFrom(addr("101.43.253.110"), 80))
	if want := "via 192.168.107.66 dev ens160\n"; err != nil ||
		!strings.HasSuffix(recorder.Transcript(), want) {
		t.Errorf("%v, ran\n%s; want %s", err, recorder.Transcript(), want)
	}
	iptest.IP(t, "rule del pref 50") // the bypass no longer goes before the rule for the port
	r.User = 4321
	hop, err := r.NextHop(t.Context(), port("101.43.253.110"))
	if err != nil || hop.Gateway != addr("192.168.107.2") {
		t.Errorf("by the rule: %+v, %v", hop, err)
	}
	hop, err = r.NextHop(t.Context(), netip.AddrPortFrom(addr("101.43.253.110"), 0))
	if err != nil || hop.Gateway != addr("192.168.107.66") {
		t.Errorf("forwarded: %+v, %v", hop, err)
	}
}
