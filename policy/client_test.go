package policy

import (
	"net/netip"
	"testing"

	"tunnel/packet"
	"tunnel/tun/tuntest"
)

// tooBig returns an ICMP error "fragmentation needed" about a packet from sender to receiver.
func tooBig(from, to, sender, receiver string) []byte {
	ip := tuntest.SizedPacket(from, to, 0, 60)
	ip[9], ip[20], ip[21] = 1, 3, 4
	ip[28] = 0x45
	copy(ip[28+12:], netip.MustParseAddr(sender).AsSlice())
	copy(ip[28+16:], netip.MustParseAddr(receiver).AsSlice())
	return ip
}

// What a server says of paths counts only for packets that went into the tunnel.
func TestICMPErrorsOfServer(t *testing.T) {
	c := Client{Address: netip.MustParseAddr("10.1.1.3"),
		Network: netip.MustParsePrefix("10.1.1.0/24")}
	for quoted, want := range map[[2]string]Verdict{
		{"10.1.1.3", "10.1.1.1"}:     Pass,
		{"10.1.1.3", "198.51.100.1"}: ICMP,
		{"192.0.2.5", "10.1.1.1"}:    ICMP,
	} {
		var b packet.Batch
		tuntest.Add(&b, tooBig("10.1.1.1", "10.1.1.3", quoted[0], quoted[1]))
		if got := c.FromServer(&b, 0); got != want {
			t.Errorf("%v: %s; want %s", quoted, got, want)
		}
	}
}

// In a full tunnel a server says nothing of paths to public hosts that are reached outside it. What
// is sent to them through the tunnel all the same, as by a socket that is bound to its device, is
// answered.
func TestExcept(t *testing.T) {
	c := Client{Address: netip.MustParseAddr("10.1.1.3"),
		Network: netip.MustParsePrefix("10.1.1.0/24"), Public: true}
	check := func(except bool) {
		t.Helper()
		for host, inside := range map[string]bool{"203.0.113.9": !except, "198.51.100.9": true} {
			want := Pass
			if !inside {
				want = ICMP
			}
			for _, from := range []string{"10.1.1.1", "172.16.9.1", host} {
				var b packet.Batch
				tuntest.Add(&b, tooBig(from, "10.1.1.3", "10.1.1.3", host))
				if got := c.FromServer(&b, 0); got != want {
					t.Errorf("except %v: %s of %s: %s; want %s", except, from, host, got, want)
				}
			}
			var b packet.Batch
			tuntest.Add(&b, tuntest.Packet(host, "10.1.1.3", 1))
			if got := c.FromServer(&b, 0); got != Pass {
				t.Errorf("except %v: from %s: %s", except, host, got)
			}
		}
	}
	check(false)
	c.Except([]netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")})
	check(true)
	c.Except(nil)
	check(false)
}

// What comes from a network behind the server passes while the client has taken it.
func TestTaken(t *testing.T) {
	c := &Client{Address: netip.MustParseAddr("10.1.1.3"),
		Network: netip.MustParsePrefix("10.1.1.0/24")}
	judge := func(from string, want Verdict) {
		t.Helper()
		if got := c.FromServer(batch(from, "10.1.1.3"), 0); got != want {
			t.Errorf("from %s: %s; want %s", from, got, want)
		}
	}
	judge("192.168.7.9", Source)
	c.Take(prefixes("192.168.7.0/24", "172.16.0.0/12"))
	judge("192.168.7.9", Pass)
	judge("172.31.0.1", Pass)
	judge("192.168.8.9", Source)
	judge("10.1.1.1", Pass)
	p := batch("192.168.7.9", "10.1.1.3")
	if n := testing.AllocsPerRun(1000, func() { c.FromServer(p, 0) }); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
	c.Take(nil)
	judge("192.168.7.9", Source)
}

// TestPublicSources has a server send from addresses outside the private network: a full tunnel
// takes public ones, to the client's own address and to no host behind it.
func TestPublicSources(t *testing.T) {
	for source, public := range map[string]bool{
		"8.8.8.8": true, "203.0.113.9": true, "100.63.255.255": true, "100.128.0.1": true,
		"10.1.2.1": false, "192.168.0.1": false, "172.16.0.1": false, "100.64.0.1": false,
		"100.127.255.255": false, "169.254.0.1": false, "127.0.0.1": false, "0.0.0.1": false,
		"168.63.129.16": false, "192.0.0.192": false, "198.19.0.1": false, "198.20.0.1": true,
		"224.0.0.1": false, "240.0.0.1": false, "255.255.255.255": false,
	} {
		for _, full := range []bool{true, false} {
			c := &Client{Address: netip.MustParseAddr("10.1.1.3"),
				Network: netip.MustParsePrefix("10.1.1.0/24"), Public: full,
				Behind: NewPrefixes(prefixes("10.50.1.0/24"))}
			for to, own := range map[string]bool{"10.1.1.3": true, "192.0.2.5": false,
				"10.50.1.9": false} {
				var b packet.Batch
				tuntest.Add(&b, tuntest.SizedPacket(source, to, 0, 60))
				if got := c.FromServer(&b, 0); (got == Pass) != (full && public && own) {
					t.Errorf("full %v, from %s to %s: %s", full, source, to, got)
				}
			}
		}
	}
}

// TestPublicReports has a router on the internet report on paths to public hosts: in a full tunnel
// to the client, and to no host behind it, whose paths there are others.
func TestPublicReports(t *testing.T) {
	c := &Client{Address: netip.MustParseAddr("10.1.1.3"),
		Network: netip.MustParsePrefix("10.1.1.0/24"), Public: true,
		Behind: NewPrefixes(prefixes("10.50.1.0/24"))}
	c.Take(prefixes("192.168.7.0/24"))
	for _, test := range []struct {
		from, to, about string
		want            Verdict
	}{
		{"203.0.113.1", "10.1.1.3", "198.51.100.9", Pass},
		{"203.0.113.1", "10.50.1.9", "198.51.100.9", Source},
		{"203.0.113.1", "10.50.1.9", "192.168.7.9", Pass},
		{"10.1.1.1", "10.1.1.3", "198.51.100.9", Pass},
		{"10.1.1.1", "10.50.1.9", "198.51.100.9", ICMP},
		{"10.1.1.1", "10.50.1.9", "192.168.7.9", Pass},
	} {
		var b packet.Batch
		tuntest.Add(&b, tooBig(test.from, test.to, test.to, test.about))
		if got := c.FromServer(&b, 0); got != test.want {
			t.Errorf("from %s to %s about %s: %s; want %s", test.from, test.to, test.about, got,
				test.want)
		}
	}
}

// What is for a network behind the client passes, and for no other.
func TestBehind(t *testing.T) {
	c := &Client{Address: netip.MustParseAddr("10.1.1.3"),
		Network: netip.MustParsePrefix("10.1.1.0/24"), Behind: NewPrefixes(prefixes("10.50.1.0/24"))}
	for to, want := range map[string]Verdict{"10.50.1.9": Pass, "10.50.2.9": Destination,
		"192.168.1.9": Destination, "10.1.1.3": Pass, "10.1.1.4": Destination} {
		if got := c.FromServer(batch("10.1.1.1", to), 0); got != want {
			t.Errorf("to %s: %s; want %s", to, got, want)
		}
	}
	p := batch("10.1.1.1", "10.50.1.9")
	if n := testing.AllocsPerRun(1000, func() { c.FromServer(p, 0) }); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}
