package firewall_test

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"

	"tunnel/e2e/lab"
	"tunnel/firewall"
)

// word is a datagram.
type word struct{ from, to string }

// send sends a datagram from an address that the host has then.
func (s site) send(t *testing.T, h *lab.Host, w word) {
	t.Helper()
	from := netip.MustParseAddrPort(w.from)
	h.Run("ip", "address", "replace", from.Addr().String()+"/32", "dev", "lo")
	defer h.Run("ip", "address", "del", from.Addr().String()+"/32", "dev", "lo")
	err := h.Do(func() error {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(from)}
		conn, err := d.DialContext(context.Background(), "udp", w.to)
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
}

// hubRules are those of a server with clients, a network of one of them, and one here.
func hubRules() firewall.Rules {
	return firewall.Rules{Networks: prefixes("192.168.7.0/24"), Tracked: &firewall.Tracked{
		Network: prefix("10.1.1.0/24"), Behind: prefixes("10.60.0.0/16")}}
}

// TestSeed has a neighbor on the uplink send a packet from the address of a host inside the tunnel,
// so that what it then sends into the tunnel passes for an answer: by the uplink itself, to a
// network here, and to a port that another program publishes.
func TestSeed(t *testing.T) {
	s := uplinked(t)
	s.checkSources("0")
	s.outside.Run("ip", "route", "add", "192.168.7.0/24", "via", "203.0.113.1")
	s.outside.Run("ip", "route", "add", "198.51.100.0/24", "via", "203.0.113.1")
	s.gateway.Run("ip", "route", "add", "198.51.100.0/24", "via", "203.0.113.9")
	s.gateway.Run("nft", "add table ip x; add chain ip x pre "+
		"{ type nat hook prerouting priority dstnat; }; add rule ip x pre "+
		"ip daddr 203.0.113.1 udp dport 8080 dnat to 192.168.7.5:8000")
	seen := startCapture(t, s.remote)
	defer seen.close()
	public := hubRules()
	public.Public, public.Masquerade = true, prefixes("0.0.0.0/0")
	inside := firewall.Guards{Inside: prefixes("10.1.1.0/24")}
	client := firewall.Rules{Networks: prefixes("192.168.7.0/24")}
	port := 6000
	for name, test := range map[string]struct {
		rules firewall.Rules
		g     firewall.Guards
		via   string // what the forged packet is for
		from  string // what then poses as its answer
	}{
		"public, by the uplink": {public, firewall.Guards{}, "198.51.100.9:53", "198.51.100.9:53"},
		"server, a network":     {hubRules(), firewall.Guards{}, "192.168.7.5:53", "192.168.7.5:53"},
		"server, published": {hubRules(), firewall.Guards{}, "203.0.113.1:8080",
			"192.168.7.5:8000"},
		"client, a network": {client, inside, "192.168.7.5:53", "192.168.7.5:53"},
		"client, published": {client, inside, "203.0.113.1:8080", "192.168.7.5:8000"},
	} {
		try := func(r firewall.Rules, g firewall.Guards) bool {
			port++
			target := netip.AddrPortFrom(netip.MustParseAddr("10.1.1.3"), uint16(port)).String()
			set(t, s.gateway, r, g)
			seen.read()
			s.send(t, s.outside, word{target, test.via})
			s.send(t, s.outside, word{test.from, target})
			return slices.Contains(seen.read(), "udp "+target)
		}
		if !try(firewall.Rules{Clamp: true}, firewall.Guards{}) {
			t.Errorf("%s: not even without rules", name)
		}
		if try(test.rules, test.g) {
			t.Errorf("%s: the tunnel has seen it", name)
		}
	}
	// Own packets to the tunnel's hosts, and hosts whose route is another, are not disturbed.
	set(t, s.gateway, client, inside)
	reaches(t, s.host, s.remote, "10.1.1.3:8000", "192.168.7.5")
	reaches(t, s.gateway, s.remote, "10.1.1.3:8000", "10.1.1.1")
	set(t, s.gateway, client, firewall.Guards{Inside: prefixes("203.0.0.0/16")})
	reaches(t, s.outside, s.host, "192.168.7.5:8000", "203.0.113.9")
}

// TestHidden has another program translate the addresses of all that leaves to this machine's, as
// Docker does: what clients do not reach does not begin to send to them.
func TestHidden(t *testing.T) {
	s := uplinked(t)
	other := s.lab.Host("other")
	dev, _ := s.lab.Link(s.gateway, "172.17.0.1/24", other, "172.17.0.2/24")
	other.Run("ip", "route", "add", "default", "via", "172.17.0.1")
	forwardOn(s.gateway, dev)
	s.gateway.Run("nft", "add table ip x; add chain ip x post "+
		"{ type nat hook postrouting priority srcnat; }; add rule ip x post "+
		`oifname "tun0" masquerade`)
	r := firewall.Rules{Clamp: true}
	set(t, s.gateway, r, firewall.Guards{})
	reaches(t, other, s.remote, "10.1.1.3:8000", "10.1.1.1")
	for _, r := range []firewall.Rules{hubRules(), {Public: true, Tracked: hubRules().Tracked}} {
		set(t, s.gateway, r, firewall.Guards{})
		cannotReach(t, other, s.remote, "10.1.1.3:8000")
	}
	set(t, s.gateway, hubRules(), firewall.Guards{})
	reaches(t, s.host, s.remote, "10.1.1.3:8000", "10.1.1.1")
	reaches(t, s.remote, other, "172.17.0.2:8000", "10.1.1.3") // its answers pass
	// A port that is published for a client.
	s.gateway.Run("nft", "add chain ip x pre { type nat hook prerouting priority dstnat; }; "+
		"add rule ip x pre ip daddr 172.17.0.1 tcp dport 8080 dnat to 10.1.1.3:8000")
	if err := connects(other, s.remote, "172.17.0.1:8080", ":8000", answerLimit); err != nil {
		t.Error(err)
	}
}

// TestLedElsewhere has another program translate destinations on the internet (DNAT): neither this
// machine nor a private network is reached by that, and a proxy at the tunnel's address is.
func TestLedElsewhere(t *testing.T) {
	s := uplinked(t)
	s.gateway.Run("ip", "address", "add", "10.99.0.1/32", "dev", "lo")
	r := hubRules()
	r.Networks, r.Public, r.Masquerade = nil, true, prefixes("0.0.0.0/0")
	for rule, reached := range map[string]bool{
		"dnat to 203.0.113.1:8000": false, "dnat to 10.99.0.1:8000": false,
		"dnat to 192.168.7.5:8000": false, "dnat to 203.0.113.9:8000": true,
		"redirect to :8000": true,
	} {
		to := map[string]*lab.Host{"dnat to 192.168.7.5:8000": s.host,
			"dnat to 203.0.113.9:8000": s.outside}[rule]
		if to == nil {
			to = s.gateway
		}
		s.gateway.Run("nft", "add table ip x; add chain ip x pre "+
			"{ type nat hook prerouting priority dstnat; }; add rule ip x pre "+
			`iifname "tun0" ip daddr 198.51.100.77 tcp dport 8080 `+rule)
		set(t, s.gateway, firewall.Rules{Clamp: true}, firewall.Guards{})
		if err := connects(s.remote, to, "198.51.100.77:8080", ":8000", answerLimit); err != nil {
			t.Errorf("%s: not even without rules: %v", rule, err)
		}
		set(t, s.gateway, r, firewall.Guards{})
		limit := attemptLimit
		if reached {
			limit = answerLimit
		}
		err := connects(s.remote, to, "198.51.100.77:8080", ":8000", limit)
		if (err == nil) != reached {
			t.Errorf("%s: %v, want reached: %v", rule, err, reached)
		}
		s.gateway.Run("nft", "delete table ip x")
	}
}

// TestBroadcast sends from the tunnel to the broadcast address of a network here, also by that of a
// translated one.
func TestBroadcast(t *testing.T) {
	s := uplinked(t)
	for _, dev := range []string{"all", "tun0", s.lan} {
		s.gateway.Sysctl("net.ipv4.conf."+dev+".bc_forwarding", "1")
	}
	s.gateway.Run("ip", "address", "replace", "192.168.7.1/24", "brd", "+", "dev", s.lan)
	onLAN := startCapture(t, s.host)
	defer onLAN.close()
	s.remote.Run("ip", "route", "add", "10.50.7.0/24", "via", "10.1.1.1")
	mapped := firewall.Rules{Maps: []firewall.Map{{Here: prefix("192.168.7.0/24"),
		There: prefix("10.50.7.0/24")}}}
	for _, test := range []struct {
		to    string
		rules firewall.Rules
	}{{"192.168.7.255:9000", firewall.Rules{Networks: prefixes("192.168.7.0/24")}},
		{"10.50.7.255:9000", mapped}} {
		heard := func(r firewall.Rules) bool {
			t.Helper()
			set(t, s.gateway, r, firewall.Guards{})
			sources := make(chan netip.Addr, 1)
			stop, err := answer(s.gateway, "udp", "0.0.0.0:9000", sources)
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			s.send(t, s.remote, word{"10.1.1.3:7000", test.to})
			lines := onLAN.read()
			return len(sources) > 0 || slices.Contains(lines, "udp 192.168.7.255:9000")
		}
		if test.to == "192.168.7.255:9000" && !heard(firewall.Rules{Clamp: true}) {
			t.Errorf("%s: not even without rules", test.to)
		}
		if heard(test.rules) {
			t.Errorf("%s is heard", test.to)
		}
	}
}
