package firewall_test

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/firewall"
)

// uplinked is a site whose gateway has the host outside as its default route, forwards by all
// interfaces on its own, and checks no source.
func uplinked(t *testing.T) site {
	t.Helper()
	s := newSite(t)
	forwardOn(s.gateway, "tun0", s.lan, s.wan)
	s.gateway.Run("ip", "route", "add", "default", "via", "203.0.113.9")
	return s
}

// checkSources sets rp_filter for the interface to the host outside.
func (s site) checkSources(value string) {
	for _, dev := range []string{"all", s.wan} {
		s.gateway.Sysctl("net.ipv4.conf."+dev+".rp_filter", value)
	}
}

// forged returns whether the other end of the tunnel sees what the host outside sends it from an
// address.
func (s site) forged(t *testing.T, seen *capture, from string) bool {
	t.Helper()
	s.outside.Run("ip", "address", "replace", from+"/32", "dev", "lo")
	err := s.outside.Do(func() error {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(
			netip.AddrPortFrom(netip.MustParseAddr(from), 0))}
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
	return slices.Contains(seen.read(), "udp 10.1.1.3:5555")
}

// TestInsiders has a neighbor on an uplink, to which a default route leads, pose as a host that
// lives in the tunnel: in a translated network, in one of a client that is away, or as a client.
func TestInsiders(t *testing.T) {
	s := uplinked(t)
	seen := startCapture(t, s.remote)
	defer seen.close()
	lan := prefixes("192.168.7.0/24")
	client := firewall.Rules{Maps: []firewall.Map{{Here: lan[0], There: prefix("10.50.7.0/24")}}}
	hub := firewall.Rules{Networks: lan, Tracked: &firewall.Tracked{
		Network: prefix("10.1.1.0/24"), Behind: prefixes("10.60.0.0/16", "10.61.0.0/24")}}
	public := hub
	public.Public, public.Masquerade = true, prefixes("0.0.0.0/0")
	for _, test := range []struct {
		from, rpFilter string
		rules          firewall.Rules
	}{
		{"10.50.7.50", "0", client}, {"10.50.7.50", "1", client}, {"10.50.7.50", "2", client},
		{"192.168.7.50", "0", client},
		{"10.60.1.9", "0", hub}, {"10.60.1.9", "1", hub}, {"10.61.0.9", "2", public},
		{"10.1.1.67", "0", hub}, {"192.168.7.50", "2", hub},
	} {
		s.checkSources(test.rpFilter)
		unset := firewall.Rules{Clamp: true}
		set(t, s.gateway, unset, firewall.Guards{})
		if !s.forged(t, seen, test.from) {
			t.Errorf("%s, rp_filter %s: not even without rules", test.from, test.rpFilter)
		}
		set(t, s.gateway, test.rules, firewall.Guards{})
		if s.forged(t, seen, test.from) {
			t.Errorf("%s, rp_filter %s: the tunnel has seen it", test.from, test.rpFilter)
		}
	}
	// By a rule of routing that a look-up without a mark does not find, and untracked.
	s.checkSources("0")
	s.gateway.Run("nft", "add table ip x; add chain ip x pre "+
		"{ type filter hook prerouting priority raw; }; add rule ip x pre meta mark set 7 notrack")
	s.gateway.Run("ip", "route", "del", "10.1.1.0/24", "dev", "tun0")
	s.gateway.Run("ip", "route", "add", "10.1.1.0/24", "dev", "tun0", "table", "7")
	s.gateway.Run("ip", "rule", "add", "fwmark", "7", "lookup", "7")
	dropped := func(how, from string, r firewall.Rules) {
		t.Helper()
		set(t, s.gateway, firewall.Rules{Clamp: true}, firewall.Guards{})
		if !s.forged(t, seen, from) {
			t.Errorf("%s %s: not even without rules", from, how)
		}
		set(t, s.gateway, r, firewall.Guards{})
		if s.forged(t, seen, from) {
			t.Errorf("%s %s: the tunnel has seen it", from, how)
		}
	}
	dropped("by a mark", "10.60.1.10", hub)
	dropped("by a mark", "10.50.7.51", client)
	// Rules that look at the source's path see untracked packets, too.
	s.gateway.Run("ip", "rule", "del", "fwmark", "7", "lookup", "7")
	s.gateway.Run("ip", "route", "add", "10.1.1.0/24", "dev", "tun0")
	dropped("untracked", "192.168.7.51", client)
	s.gateway.Run("nft", "delete table ip x")
	// The hosts themselves are not disturbed.
	set(t, s.gateway, hub, firewall.Guards{})
	reaches(t, s.host, s.remote, "10.1.1.3:8000", "192.168.7.5")
	reaches(t, s.remote, s.host, "192.168.7.5:8000", "10.1.1.3")
	set(t, s.gateway, client, firewall.Guards{})
	reaches(t, s.host, s.remote, "10.1.1.3:8000", "10.50.7.5")
	s.remote.Run("ip", "route", "add", "10.50.7.0/24", "via", "10.1.1.1")
	reaches(t, s.remote, s.host, "10.50.7.5:8000", "10.1.1.3")
}

// TestUntranslated sends what connection tracking does not know through a gateway that forwards on
// its own: nothing passes a translated network with other addresses, in either direction.
func TestUntranslated(t *testing.T) {
	s := uplinked(t)
	s.checkSources("0")
	inTunnel, outside, inLAN := startCapture(t, s.remote), startCapture(t, s.outside),
		startCapture(t, s.host)
	all := []*capture{inTunnel, outside, inLAN}
	for _, c := range all {
		defer c.close()
	}
	send := func(way string) (lines []string) {
		t.Helper()
		from, to := s.remote, netip.MustParseAddr("10.50.7.9")
		switch way {
		case "to a real address":
			to = netip.MustParseAddr("192.168.7.5")
		case "from the LAN":
			from, to = s.host, netip.MustParseAddr("10.1.1.3")
		}
		if err := from.Do(func() error { return sendStray(to) }); err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			lines = append(lines, c.read()...)
		}
		return slices.DeleteFunc(lines,
			func(line string) bool { return line != "tcp "+to.String()+":8000" })
	}
	r := firewall.Rules{Maps: []firewall.Map{{Here: prefix("192.168.7.0/24"),
		There: prefix("10.50.7.0/24")}}}
	for _, way := range []string{"to a translated address", "to a real address", "from the LAN"} {
		for _, notrack := range []bool{false, true} {
			if notrack {
				s.gateway.Run("nft", "add table ip x; add chain ip x pre { type filter hook "+
					"prerouting priority raw; }; add rule ip x pre notrack")
			}
			set(t, s.gateway, firewall.Rules{Clamp: true}, firewall.Guards{})
			if len(send(way)) == 0 {
				t.Errorf("%s, notrack %v: not even without rules", way, notrack)
			}
			set(t, s.gateway, r, firewall.Guards{})
			if lines := send(way); len(lines) > 0 {
				t.Errorf("%s, notrack %v: %v", way, notrack, lines)
			}
			if notrack {
				s.gateway.Run("nft", "delete table ip x")
			}
		}
	}
	s.remote.Run("ip", "route", "add", "10.50.7.0/24", "via", "10.1.1.1")
	reaches(t, s.remote, s.host, "10.50.7.5:8000", "10.1.1.3")
	reaches(t, s.host, s.remote, "10.1.1.3:8000", "10.50.7.5")
	cannotReach(t, s.remote, s.host, "192.168.7.5:8000")
	for _, c := range all {
		c.read()
	}
	masked := firewall.Rules{Networks: prefixes("192.168.7.0/24"),
		Masquerade: prefixes("192.168.7.0/24")}
	set(t, s.gateway, masked, firewall.Guards{})
	s.gateway.Run("nft", "add table ip x; add chain ip x pre { type filter hook prerouting "+
		"priority raw; }; add rule ip x pre notrack")
	if lines := send("to a real address"); len(lines) > 0 {
		t.Errorf("with masquerade, untracked: %v", lines)
	}
}

// TestGuardFollows has the LAN's interface renamed: what was switched on for it opens nothing else,
// also under its new name.
func TestGuardFollows(t *testing.T) {
	s := newSite(t)
	forwardOn(s.gateway, "tun0", s.lan, s.wan)
	set(t, s.gateway, firewall.Rules{Networks: prefixes("192.168.7.0/24")},
		firewall.Guards{IPv4: []string{"tun0", s.lan}})
	for _, args := range [][]string{{s.lan, "down"}, {s.lan, "name", "renamed"}, {"renamed", "up"}} {
		s.gateway.Run(append([]string{"ip", "link", "set"}, args...)...)
	}
	reaches(t, s.host, s.remote, "10.1.1.3:8000", "192.168.7.5")
	cannotReach(t, s.host, s.outside, "203.0.113.9:8000")
	unset(t, s.gateway)
	reaches(t, s.host, s.outside, "203.0.113.9:8000", "192.168.7.5")
}

// sendStray sends the end of a TCP connection that has never been from port 8000 to that of a host.
func sendStray(to netip.Addr) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const fin = 1
	header := []byte{0: 0x1f, 1: 0x40, 2: 0x1f, 3: 0x40, 12: 5 << 4, 13: fin, 19: 0}
	return unix.Sendto(fd, header, 0, &unix.SockaddrInet4{Addr: to.As4()})
}
