package policy

import (
	"net/netip"
	"testing"

	"tunnel/packet"
	"tunnel/tun/tuntest"
)

// TestRoutersBehindHub has routers with addresses in networks that are not pushed report on packets
// of a client: they are believed about its own packets to what it reaches behind the hub only.
func TestRoutersBehindHub(t *testing.T) {
	for _, test := range []struct {
		from, to, sender, receiver string // of the error, and of the packet that it quotes
		closed, public             Verdict
	}{
		{"172.20.0.2", "10.1.1.3", "10.1.1.3", "172.16.1.9", Pass, Pass},
		{"198.51.100.2", "10.1.1.3", "10.1.1.3", "172.16.1.9", Pass, Pass},
		{"172.20.0.2", "10.1.1.3", "10.1.1.3", "203.0.113.9", NotPushed, Pass},
		{"172.20.0.2", "10.1.1.3", "10.1.1.3", "172.16.2.9", NotPushed, NotPushed},
		{"172.20.0.2", "10.1.1.3", "10.1.1.3", "10.1.1.1", NotPushed, NotPushed},
		// What another client sent, and what goes to a client.
		{"172.20.0.2", "10.1.1.3", "10.1.1.5", "172.16.1.9", NotPushed, NotPushed},
		{"172.20.0.2", "10.1.1.5", "10.1.1.5", "172.16.1.9", NotPushed, NotPushed},
		{"172.20.0.2", "10.1.1.3", "10.1.1.3", "10.50.3.9", NotPushed, NotPushed},
		{"172.20.0.2", "10.1.1.9", "10.1.1.9", "172.16.1.9", NotPushed, NotPushed},
		{"169.254.0.1", "10.1.1.3", "10.1.1.3", "172.16.1.9", Martian, Martian},
		{"127.0.0.1", "10.1.1.3", "10.1.1.3", "172.16.1.9", Loopback, Loopback},
	} {
		o := newOffice(false)
		ip := tooBig(test.from, test.to, test.sender, test.receiver)
		for public, want := range map[bool]Verdict{false: test.closed, true: test.public} {
			o.Public = public
			if got := o.FromKernel(ip); got != want {
				t.Errorf("from %s to %s about %s to %s, Public %v: %s; want %s", test.from, test.to,
					test.sender, test.receiver, public, got, want)
			}
		}
		if n := testing.AllocsPerRun(1000, func() { o.FromKernel(ip) }); n != 0 {
			t.Errorf("%v allocations for a packet", n)
		}
		if ip[20] = 8; o.FromKernel(ip) == Pass && test.from != "198.51.100.2" {
			t.Errorf("a ping from %s passes", test.from)
		}
	}
}

// TestRoutersBehindServer is TestRoutersBehindHub for a client.
func TestRoutersBehindServer(t *testing.T) {
	for _, test := range []struct {
		from, to, sender, receiver string
		part, full                 Verdict
	}{
		{"172.20.0.2", "10.1.1.3", "10.1.1.3", "172.16.1.9", Pass, Pass},
		{"172.20.0.2", "10.50.1.9", "10.50.1.9", "172.16.1.9", Pass, Pass},
		{"172.20.0.2", "10.1.1.3", "10.1.1.3", "203.0.113.9", Source, Pass},
		{"198.51.100.2", "10.1.1.3", "10.1.1.3", "203.0.113.9", Source, Pass},
		{"172.20.0.2", "10.1.1.3", "10.1.1.3", "192.168.1.9", Source, Source},
		{"172.20.0.2", "10.1.1.3", "10.1.1.3", "10.1.1.1", Source, Source},
		{"172.20.0.2", "10.1.1.3", "10.50.1.9", "172.16.1.9", Source, Source},
		{"172.20.0.2", "192.168.1.2", "192.168.1.2", "172.16.1.9", Destination, Destination},
		{"10.50.1.1", "10.1.1.3", "10.1.1.3", "172.16.1.9", Source, Source},
		{"127.0.0.1", "10.1.1.3", "10.1.1.3", "172.16.1.9", Source, Source},
	} {
		for full, want := range map[bool]Verdict{false: test.part, true: test.full} {
			c := &Client{Address: netip.MustParseAddr("10.1.1.3"), Public: full,
				Network: netip.MustParsePrefix("10.1.1.0/24"),
				Behind:  NewPrefixes(prefixes("10.50.1.0/24"))}
			c.Take(prefixes("172.16.1.0/24"))
			var b packet.Batch
			tuntest.Add(&b, tooBig(test.from, test.to, test.sender, test.receiver))
			if got := c.FromServer(&b, 0); got != want {
				t.Errorf("from %s to %s about %s to %s, full %v: %s; want %s", test.from, test.to,
					test.sender, test.receiver, full, got, want)
			}
			if n := testing.AllocsPerRun(1000, func() { c.FromServer(&b, 0) }); n != 0 {
				t.Errorf("%v allocations for a packet", n)
			}
		}
	}
}
