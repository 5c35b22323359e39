package firewall_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/firewall"
)

// TestLinks has what all hosts on a link listen to, and what goes to a host of the LAN, leave by
// the LAN's interface, and by no other.
func TestLinks(t *testing.T) {
	m := newLaptop(t)
	public, _ := m.lab.Link(m.client, "198.51.100.2/24", m.hub, "198.51.100.1/24")
	m.client.Run("ip", "route", "add", "default", "via", "198.51.100.1", "dev", public, "metric", "9")
	lan, links := near("eth0", "192.168.0.0/24"), []string{"eth0"}
	full := refusing(m.inside)
	full.Outside.LAN, full.Outside.Links = lan, links
	onLAN, onPublic := startCapture(t, m.printer), startCapture(t, m.hub)
	defer onLAN.close()
	defer onPublic.close()
	for name, r := range map[string]firewall.Rules{"full tunnel": full,
		"kill switch": killSwitch(func(k *firewall.KillSwitch) {
			k.LAN, k.Links, k.GuardDNS = lan, links, true
		})} {
		set(t, m.client, r, firewall.Guards{})
		for _, text := range []string{"224.0.0.251:5353", "239.255.255.250:1900",
			"255.255.255.255:9999", "[ff02::fb]:5353", "[ff02::1]:9999", "192.168.0.7:9999"} {
			to := netip.MustParseAddrPort(text)
			from := netip.AddrPortFrom(netip.IPv4Unspecified(), 5353)
			if to.Addr().Is6() {
				from = netip.AddrPortFrom(netip.IPv6Unspecified(), 5353)
			}
			for _, dev := range []string{"eth0", public} {
				err := m.client.Do(func() error { return sendBy(dev, from, to) })
				if (err == nil) != (dev == "eth0") {
					t.Errorf("%s: %s by %s: %v", name, to, dev, err)
				}
			}
			if lines := onLAN.read(); !slices.Contains(lines, "udp "+text) {
				t.Errorf("%s: the LAN has not seen %s, but %v", name, to, lines)
			}
			if lines := onPublic.read(); len(lines) > 0 {
				t.Errorf("%s: beyond the LAN is seen %v", name, lines)
			}
		}
	}
}

// TestForgedSource has a neighbor on another link send into the tunnel as a host of a network that
// the tunnel knows.
func TestForgedSource(t *testing.T) {
	s := newSite(t)
	forwardOn(s.gateway, "tun0", s.lan, s.wan)
	for _, dev := range []string{"all", s.wan} {
		s.gateway.Sysctl("net.ipv4.conf."+dev+".rp_filter", "0")
	}
	s.outside.Run("ip", "address", "add", "192.168.7.50/32", "dev", "lo")
	seen := startCapture(t, s.remote)
	defer seen.close()
	forge := func() []string {
		t.Helper()
		err := s.outside.Do(func() error {
			d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(
				netip.MustParseAddrPort("192.168.7.50:0"))}
			conn, err := d.DialContext(t.Context(), "udp", "10.1.1.3:5555")
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.Write([]byte("word"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return seen.read()
	}
	if lines := forge(); !slices.Contains(lines, "udp 10.1.1.3:5555") {
		t.Fatalf("without a table the tunnel has seen %v", lines)
	}
	lan := prefixes("192.168.7.0/24")
	for name, r := range map[string]firewall.Rules{
		"networks": {Networks: lan}, "masquerade": {Networks: lan, Masquerade: lan, Public: true},
		"maps": {Maps: []firewall.Map{{Here: lan[0], There: prefix("10.50.7.0/24")}}},
	} {
		set(t, s.gateway, r, firewall.Guards{})
		if lines := forge(); slices.Contains(lines, "udp 10.1.1.3:5555") {
			t.Errorf("%s: the tunnel has seen %v", name, lines)
		}
		from := "192.168.7.5"
		if name == "maps" {
			from = "10.50.7.5"
		}
		reaches(t, s.host, s.remote, "10.1.1.3:8000", from)
	}
}

// TestOthers forwards from the LAN into the tunnel of another run, too, and not between tunnels.
func TestOthers(t *testing.T) {
	s := newSite(t)
	other := s.lab.Host("other")
	dev, _ := s.lab.Link(s.gateway, "10.2.2.1/24", other, "10.2.2.3/24")
	other.Run("ip", "route", "add", "default", "via", "10.2.2.1")
	forwardOn(s.gateway, "tun0", s.lan, dev)
	r := firewall.Rules{Networks: prefixes("192.168.7.0/24")}
	g := firewall.Guards{IPv4: []string{"tun0", s.lan}}
	set(t, s.gateway, r, g)
	cannotReach(t, other, s.host, "192.168.7.5:8000")
	g.Others = []string{dev}
	set(t, s.gateway, r, g)
	reaches(t, other, s.host, "192.168.7.5:8000", "10.2.2.3")
	reaches(t, s.host, other, "10.2.2.3:8000", "192.168.7.5")
	reaches(t, s.remote, s.host, "192.168.7.5:8000", "10.1.1.3")
	cannotReach(t, s.remote, other, "10.2.2.3:8000")
}

// TestKernelBeside finds the runs that forward by their tables, and no others.
func TestKernelBeside(t *testing.T) {
	guarded(t)
	hub := firewall.Rules{Networks: prefixes("192.168.7.0/24"), Clamp: true}
	for dev, r := range map[string]firewall.Rules{"tun0": hub, "tun1": hub, "tun2": killSwitch(nil),
		"tun3": refusing("lan0"), "tun4": full()} {
		g := firewall.Guards{IPv4: []string{dev, "eth0"}}
		if err := firewall.Set(t.Context(), machine(), r.Table(dev, 1400, g)); err != nil {
			t.Fatal(err)
		}
	}
	nft(t, "add table inet other; add chain inet other f { type filter hook forward priority 0; }")
	own := firewall.Guards{IPv4: []string{"tun0", "eth0"}, Others: []string{"gone"}}
	g, err := own.Beside(t.Context(), machine(), "tun0")
	if err != nil || !slices.Equal(g.Others, []string{"tun1"}) || !slices.Equal(g.IPv4, own.IPv4) {
		t.Errorf("%+v, %v", g, err)
	}
	g, err = firewall.Guards{Others: own.Others}.Beside(t.Context(), machine(), "tun0")
	if err != nil || len(g.Others) > 0 {
		t.Errorf("without a guard: %+v, %v", g, err)
	}
	_, err = firewall.Guards{IPv4: []string{"a*"}}.Beside(t.Context(), machine(), "tun0")
	if !errors.Is(err, firewall.ErrRules) {
		t.Errorf("%v", err)
	}
}

// TestRefusedAtOnce has connections refused by an answer to their first segment.
func TestRefusedAtOnce(t *testing.T) {
	m := newLaptop(t)
	for name, r := range map[string]firewall.Rules{"full tunnel": refusing("lan0"),
		"kill switch": killSwitch(func(k *firewall.KillSwitch) {
			k.LAN, k.GuardDNS = near("eth0", "192.168.0.0/24"), true
		})} {
		set(t, m.client, r, firewall.Guards{})
		for _, at := range []string{outside4, outside6, printer6, "192.168.0.7:53"} {
			if name == "full tunnel" && at == "192.168.0.7:53" {
				continue
			}
			begin := time.Now()
			_, err := exchange("tcp", m.client, m.outside, at, answerLimit, nil)
			t.Logf("%s: %s after %v: %v", name, at, time.Since(begin), err)
			if !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s: %s: %v", name, at, err)
			}
		}
	}
}

// TestRefusedGoesOn has a connection that is refused for a time go on after that.
func TestRefusedGoesOn(t *testing.T) {
	m := newLaptop(t)
	stop, err := answer(m.outside, "tcp", ":8000", make(chan netip.Addr, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	ctx, cancel := context.WithTimeout(t.Context(), answerLimit)
	defer cancel()
	conn, err := m.client.DialContext(ctx, "tcp", outside4)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	set(t, m.client, killSwitch(nil), firewall.Guards{})
	if err := conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("word")); err != nil {
		t.Fatal(err)
	}
	unset(t, m.client)
	buffer := make([]byte, 16)
	if n, err := conn.Read(buffer); err != nil || string(buffer[:n]) != "word" {
		t.Errorf("%q, %v", buffer[:n], err)
	}
}
