package firewall_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/e2e/lab"
	"tunnel/firewall"
)

// site is a gateway between a tunnel, a LAN and the internet.
type site struct {
	gateway, remote, host, outside *lab.Host
	lan, wan                       string // devices of the gateway
	lab                            *lab.Lab
}

// newSite makes a site. The remote host is at the other end of the tunnel and knows of all networks
// by it; the host on the LAN and the one outside have the gateway as their default route.
func newSite(t *testing.T) site {
	t.Helper()
	t.Parallel()
	l := lab.New(t)
	s := site{gateway: l.Host("gateway"), remote: l.Host("remote"), host: l.Host("host"),
		outside: l.Host("outside"), lab: l}
	tunnelBetween(l, s.gateway, "10.1.1.1/24", s.remote, "10.1.1.3/24")
	s.lan, _ = l.Link(s.gateway, "192.168.7.1/24", s.host, "192.168.7.5/24")
	s.wan, _ = l.Link(s.gateway, "203.0.113.1/24", s.outside, "203.0.113.9/24")
	s.remote.Run("ip", "route", "add", "default", "via", "10.1.1.1")
	s.host.Run("ip", "route", "add", "default", "via", "192.168.7.1")
	s.outside.Run("ip", "route", "add", "default", "via", "203.0.113.1")
	for _, dev := range []string{"tun0", s.lan, s.wan} {
		s.gateway.Sysctl("net.ipv4.conf."+dev+".forwarding", "0")
	}
	return s
}

// TestGuards has forwarding switched on for the tunnel and the LAN: nothing else is opened by that.
func TestGuards(t *testing.T) {
	s := newSite(t)
	cannotReach(t, s.remote, s.host, "192.168.7.5:8000")
	s.gateway.Sysctl("net.ipv4.conf.tun0.forwarding", "1")
	s.gateway.Sysctl("net.ipv4.conf."+s.lan+".forwarding", "1")
	// What has to be taken back: without the table the LAN reaches all, and the tunnel what no
	// policy lets it.
	reaches(t, s.remote, s.host, "192.168.7.5:8000", "10.1.1.3")
	s.gateway.Sysctl("net.ipv4.conf."+s.wan+".forwarding", "1")
	reaches(t, s.host, s.outside, "203.0.113.9:8000", "192.168.7.5")
	reaches(t, s.remote, s.outside, "203.0.113.9:8000", "10.1.1.3")

	set(t, s.gateway, firewall.Rules{Networks: prefixes("192.168.7.0/24")},
		firewall.Guards{IPv4: []string{"tun0", s.lan}})
	reaches(t, s.remote, s.host, "192.168.7.5:8000", "10.1.1.3")
	reaches(t, s.host, s.remote, "10.1.1.3:8000", "192.168.7.5")
	reaches(t, s.host, s.gateway, "192.168.7.1:8000", "192.168.7.5") // the gateway itself
	cannotReach(t, s.host, s.outside, "203.0.113.9:8000")
	cannotReach(t, s.remote, s.outside, "203.0.113.9:8000")
	// It may send to the LAN without this program, and has no answer, as before.
	cannotReach(t, s.outside, s.host, "192.168.7.5:8000")
	// The gateway's own public address; by TCP, as UDP's answers have another source.
	own := func(limit time.Duration) error {
		_, err := exchange("tcp", s.remote, s.gateway, "203.0.113.1:8000", limit, nil)
		return err
	}
	if err := own(answerLimit); err != nil {
		t.Error(err)
	}
	set(t, s.gateway, firewall.Rules{Networks: prefixes("192.168.7.0/24"), Public: true},
		firewall.Guards{IPv4: []string{"tun0", s.lan}})
	reaches(t, s.remote, s.outside, "203.0.113.9:8000", "10.1.1.3")
	if own(attemptLimit) == nil {
		t.Error("the gateway's own public address is reached")
	}
	cannotReach(t, s.outside, s.remote, "10.1.1.3:8000")
	reaches(t, s.host, s.remote, "10.1.1.3:8000", "192.168.7.5")
	// Nor are services that other programs publish there, on another host or on this one.
	for _, rule := range []string{"dnat to 192.168.7.5:8000", "redirect to :8000"} {
		s.gateway.Run("nft", "add table ip x; add chain ip x pre "+
			"{ type nat hook prerouting priority dstnat; }; add rule ip x pre "+
			"fib daddr type local tcp dport 8080 "+rule)
		published := func(limit time.Duration) error {
			to := map[bool]*lab.Host{true: s.host, false: s.gateway}[rule == "dnat to 192.168.7.5:8000"]
			return connects(s.remote, to, "203.0.113.1:8080", ":8000", limit)
		}
		if published(attemptLimit) == nil {
			t.Errorf("what is published by %q at the gateway's own address is reached", rule)
		}
		set(t, s.gateway, firewall.Rules{Networks: prefixes("192.168.7.0/24")},
			firewall.Guards{IPv4: []string{"tun0", s.lan}})
		if err := published(answerLimit); err != nil {
			t.Errorf("without Public %q does not work: %v", rule, err)
		}
		set(t, s.gateway, firewall.Rules{Networks: prefixes("192.168.7.0/24"), Public: true},
			firewall.Guards{IPv4: []string{"tun0", s.lan}})
		s.gateway.Run("nft", "delete table ip x")
	}
	unset(t, s.gateway)
	reaches(t, s.host, s.outside, "203.0.113.9:8000", "192.168.7.5")
}

// connects returns an error unless a connection to an address is accepted by a host at a port.
func connects(from, to *lab.Host, address, at string, limit time.Duration) error {
	stop, err := answer(to, "tcp", at, make(chan netip.Addr, 1))
	if err != nil {
		return err
	}
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, err := from.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// TestMasquerade is about hosts that have no route back into the tunnel.
func TestMasquerade(t *testing.T) {
	s := newSite(t)
	forwardOn(s.gateway, "tun0", s.lan, s.wan)
	s.host.Run("ip", "route", "del", "default")
	s.outside.Run("ip", "route", "del", "default")
	s.host.Run("ip", "route", "add", "203.0.113.0/24", "via", "192.168.7.1")
	s.outside.Run("ip", "route", "add", "192.168.7.0/24", "via", "203.0.113.1")
	cannotReach(t, s.remote, s.host, "192.168.7.5:8000")
	set(t, s.gateway, firewall.Rules{Masquerade: prefixes("192.168.7.0/24")}, firewall.Guards{})
	reaches(t, s.remote, s.host, "192.168.7.5:8000", "192.168.7.1")
	cannotReach(t, s.remote, s.outside, "203.0.113.9:8000")
	set(t, s.gateway, firewall.Rules{Masquerade: prefixes("0.0.0.0/0")}, firewall.Guards{})
	reaches(t, s.remote, s.host, "192.168.7.5:8000", "192.168.7.1")
	reaches(t, s.remote, s.outside, "203.0.113.9:8000", "203.0.113.1")
	seen := startCapture(t, s.host)
	defer seen.close()
	seen.read()
	lan := netip.MustParseAddr("192.168.7.5")
	if err := s.remote.Do(func() error { return sendStray(lan) }); err != nil {
		t.Fatal(err)
	}
	if lines := seen.read(); len(lines) > 0 {
		t.Errorf("what belongs to no connection leaves: %v", lines)
	}
	// Only what comes from the tunnel and leaves elsewhere.
	reaches(t, s.host, s.outside, "203.0.113.9:8000", "192.168.7.5")
	reaches(t, s.gateway, s.remote, "10.1.1.3:8000", "10.1.1.1")
	s.host.Run("ip", "route", "add", "10.1.1.0/24", "via", "192.168.7.1")
	reaches(t, s.host, s.remote, "10.1.1.3:8000", "192.168.7.5")
}

// TestMaps joins two sites that both have 192.168.1.0/24.
func TestMaps(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a, b := l.Host("a"), l.Host("b")
	hostA, hostB := l.Host("host-a"), l.Host("host-b")
	tunnelBetween(l, a, "10.1.1.3/24", b, "10.1.1.5/24")
	lanA, _ := l.Link(a, "192.168.1.1/24", hostA, "192.168.1.5/24")
	lanB, _ := l.Link(b, "192.168.1.1/24", hostB, "192.168.1.7/24")
	hostA.Run("ip", "route", "add", "default", "via", "192.168.1.1")
	hostB.Run("ip", "route", "add", "default", "via", "192.168.1.1")
	a.Run("ip", "route", "add", "10.50.2.0/24", "via", "10.1.1.5")
	b.Run("ip", "route", "add", "10.50.1.0/24", "via", "10.1.1.3")
	forwardOn(a, "tun0", lanA)
	forwardOn(b, "tun0", lanB)
	cannotReach(t, hostA, hostB, "10.50.2.7:8000")
	for _, side := range []struct {
		host  *lab.Host
		lan   string
		there string
	}{{a, lanA, "10.50.1.0/24"}, {b, lanB, "10.50.2.0/24"}} {
		set(t, side.host, firewall.Rules{Maps: []firewall.Map{
			{Here: prefix("192.168.1.0/24"), There: prefix(side.there)},
		}}, firewall.Guards{IPv4: []string{"tun0", side.lan}})
	}
	reaches(t, hostA, hostB, "10.50.2.7:8000", "10.50.1.5")
	reaches(t, hostB, hostA, "10.50.1.5:8000", "10.50.2.7")
	reaches(t, a, hostB, "10.50.2.7:8000", "10.1.1.3") // not of the network: as it is
	// The real addresses are no address for the tunnel.
	a.Run("ip", "route", "add", "192.168.1.7/32", "via", "10.1.1.5")
	cannotReach(t, a, hostB, "192.168.1.7:8000")
}

// TestClamp has hosts with a larger MTU than the tunnel's, in both directions, by their addresses
// and by translated ones.
func TestClamp(t *testing.T) {
	s := newSite(t)
	forwardOn(s.gateway, "tun0", s.lan)
	site := []firewall.Map{{Here: prefix("192.168.7.0/24"), There: prefix("10.50.7.0/24")}}
	for _, test := range []struct {
		clamp bool
		maps  []firewall.Map
		host  string
	}{{false, nil, "192.168.7.5:8001"}, {true, nil, "192.168.7.5:8001"},
		{false, site, "10.50.7.5:8001"}, {true, site, "10.50.7.5:8001"}} {
		clamp := test.clamp
		set(t, s.gateway, firewall.Rules{Clamp: clamp, Masquerade: prefixes("10.9.9.0/24"),
			Maps: test.maps}, firewall.Guards{})
		want := 1460 - 12 // of Ethernet, less the timestamps of each segment
		if clamp {
			want = tunnelMTU - 40 - 12
		}
		for _, way := range [][2]*lab.Host{{s.remote, s.host}, {s.host, s.remote}} {
			at := map[*lab.Host]string{s.host: test.host, s.remote: "10.1.1.3:8001"}[way[1]]
			got, err := segmentSizes(way[0], way[1], at)
			if err != nil || got != [2]int{want, want} {
				t.Errorf("clamp %v, to %s: %v, want %d, %v", clamp, at, got, want, err)
			}
		}
	}
}

// segmentSizes returns the largest segment that each end of a connection sends.
func segmentSizes(from, to *lab.Host, at string) (sizes [2]int, err error) {
	var listener net.Listener
	err = to.Do(func() (err error) {
		_, port, _ := net.SplitHostPort(at) // of an address that may be translated
		config := net.ListenConfig{}
		listener, err = config.Listen(context.Background(), "tcp4", ":"+port)
		return err
	})
	if err != nil {
		return sizes, err
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
	defer cancel()
	dialed, err := from.DialContext(ctx, "tcp", at)
	if err != nil {
		return sizes, err
	}
	defer dialed.Close()
	if tcp, ok := listener.(*net.TCPListener); ok {
		if err := tcp.SetDeadline(time.Now().Add(answerLimit)); err != nil {
			return sizes, err
		}
	}
	accepted, err := listener.Accept()
	if err != nil {
		return sizes, err
	}
	defer accepted.Close()
	for i, conn := range []net.Conn{dialed, accepted} {
		tcp, ok := conn.(*net.TCPConn)
		if !ok {
			return sizes, net.ErrClosed
		}
		raw, err := tcp.SyscallConn()
		if err != nil {
			return sizes, err
		}
		var failed error
		err = raw.Control(func(fd uintptr) {
			sizes[i], failed = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG)
		})
		if err != nil || failed != nil {
			return sizes, failed
		}
	}
	return sizes, nil
}
