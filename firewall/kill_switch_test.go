package firewall_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/e2e/lab"
	"tunnel/firewall"
)

// laptop is a client behind a router, with a printer on its LAN, a server outside, and a container
// behind it.
type laptop struct {
	client, router, printer, outside, container, hub *lab.Host
	inside                                           string // the client's device to container
	lab                                              *lab.Lab
}

const (
	outside4, outside6 = "203.0.113.9:8000", "[2001:db8:9::9]:8000"
	printer4, printer6 = "192.168.0.7:8000", "[2001:db8:1::7]:8000"
)

func newLaptop(t *testing.T) laptop {
	t.Helper()
	t.Parallel()
	l := lab.New(t)
	m := laptop{client: l.Host("client"), router: l.Host("router"), printer: l.Host("printer"),
		outside: l.Host("outside"), container: l.Host("container"), hub: l.Host("hub"), lab: l}
	sw := l.Switch("switch")
	both := func(h *lab.Host, dev, six string) {
		h.Run("ip", "addr", "add", six, "dev", dev, "nodad")
	}
	both(m.client, l.Attach(m.client, "192.168.0.5/24", sw), "2001:db8:1::5/64")
	both(m.router, l.Attach(m.router, "192.168.0.1/24", sw), "2001:db8:1::1/64")
	both(m.printer, l.Attach(m.printer, "192.168.0.7/24", sw), "2001:db8:1::7/64")
	routerDev, outsideDev := l.Link(m.router, "203.0.113.1/24", m.outside, "203.0.113.9/24")
	both(m.router, routerDev, "2001:db8:9::1/64")
	both(m.outside, outsideDev, "2001:db8:9::9/64")
	tunnelBetween(l, m.client, "10.1.1.3/24", m.hub, "10.1.1.1/24")
	m.inside, _ = l.Link(m.client, "172.17.0.1/24", m.container, "172.17.0.2/24")
	m.router.Sysctl("net.ipv4.ip_forward", "1")
	m.router.Sysctl("net.ipv6.conf.all.forwarding", "1")
	m.client.Sysctl("net.ipv4.ip_forward", "1")
	for h, via := range map[*lab.Host][2]string{
		m.client: {"192.168.0.1", "2001:db8:1::1"}, m.printer: {"192.168.0.1", "2001:db8:1::1"},
		m.outside: {"203.0.113.1", "2001:db8:9::1"},
	} {
		h.Run("ip", "route", "add", "default", "via", via[0])
		h.Run("ip", "-6", "route", "add", "default", "via", via[1])
	}
	m.container.Run("ip", "route", "add", "default", "via", "172.17.0.1")
	m.hub.Run("ip", "route", "add", "default", "via", "10.1.1.3")
	for _, h := range []*lab.Host{m.router, m.printer} {
		h.Run("ip", "route", "add", "172.17.0.0/24", "via", "192.168.0.5")
	}
	m.router.Run("ip", "route", "replace", "10.1.1.0/24", "via", "192.168.0.5")
	return m
}

func killSwitch(change func(*firewall.KillSwitch)) firewall.Rules {
	k := firewall.KillSwitch{Mark: mark}
	if change != nil {
		change(&k)
	}
	return firewall.Rules{KillSwitch: &k}
}

// TestKillSwitch judges what this machine sends, receives and forwards.
func TestKillSwitch(t *testing.T) {
	m := newLaptop(t)
	addresses := [][2]string{{outside4, outside6}, {printer4, printer6}}
	reaches(t, m.client, m.outside, outside4, "192.168.0.5")
	reaches(t, m.client, m.outside, outside6, "2001:db8:1::5")
	reaches(t, m.outside, m.client, "192.168.0.5:8000", "203.0.113.9")
	reaches(t, m.container, m.outside, outside4, "172.17.0.2")

	set(t, m.client, killSwitch(nil), firewall.Guards{})
	for i, h := range []*lab.Host{m.outside, m.printer} {
		for _, at := range addresses[i] {
			refused(t, m.client, h, at)
		}
		cannotReach(t, m.container, h, addresses[i][0])
	}
	for _, network := range []string{"tcp", "udp"} {
		for _, at := range addresses[0] { // the tunnel's own connection
			if _, err := exchange(network, m.client, m.outside, at, answerLimit,
				marked(mark)); err != nil {
				t.Errorf("%s, marked, to %s: %v", network, at, err)
			}
			if _, err := exchange(network, m.client, m.outside, at, attemptLimit,
				marked(mark+1)); err == nil {
				t.Errorf("%s with another mark reaches %s", network, at)
			}
		}
	}
	for _, h := range []*lab.Host{m.outside, m.printer} {
		cannotReach(t, h, m.client, "192.168.0.5:8000")
	}
	cannotReach(t, m.printer, m.client, "[2001:db8:1::5]:8000")
	reaches(t, m.client, m.hub, "10.1.1.1:8000", "10.1.1.3")
	reaches(t, m.hub, m.client, "10.1.1.3:8000", "10.1.1.1")
	reaches(t, m.client, m.client, "127.0.0.1:8000", "127.0.0.1")
	reaches(t, m.client, m.client, "[::1]:8000", "::1")
	reaches(t, m.container, m.hub, "10.1.1.1:8000", "172.17.0.2")
	unset(t, m.client)
	reaches(t, m.client, m.outside, outside4, "192.168.0.5")
}

// TestKillSwitchLAN keeps the LAN, but for DNS in a full tunnel.
func TestKillSwitchLAN(t *testing.T) {
	m := newLaptop(t)
	lan := append(near("eth0", "192.168.0.0/24", "2001:db8:1::/64"),
		near(m.inside, "172.17.0.0/24")...)
	for _, guard := range []bool{false, true} {
		set(t, m.client, killSwitch(func(k *firewall.KillSwitch) {
			k.LAN, k.GuardDNS = lan, guard
		}), firewall.Guards{})
		reaches(t, m.client, m.printer, printer4, "192.168.0.5")
		reaches(t, m.client, m.printer, printer6, "2001:db8:1::5")
		reaches(t, m.printer, m.client, "192.168.0.5:8000", "192.168.0.7")
		reaches(t, m.printer, m.client, "192.168.0.5:53", "192.168.0.7") // its own server
		reaches(t, m.container, m.printer, printer4, "172.17.0.2")
		refused(t, m.client, m.outside, outside4)
		refused(t, m.client, m.outside, outside6)
		cannotReach(t, m.container, m.outside, outside4)
		cannotReach(t, m.outside, m.client, "192.168.0.5:8000")
		for _, at := range []string{"192.168.0.7:53", "192.168.0.7:853", "[2001:db8:1::7]:53",
			"[2001:db8:1::7]:853"} {
			from := "192.168.0.5"
			if strings.HasPrefix(at, "[") {
				from = "2001:db8:1::5"
			}
			if !guard {
				reaches(t, m.client, m.printer, at, from)
				continue
			}
			refused(t, m.client, m.printer, at)
			if from == "192.168.0.5" {
				cannotReach(t, m.container, m.printer, at)
			}
			for _, network := range []string{"tcp", "udp"} { // the tunnel's own look-ups
				if _, err := exchange(network, m.client, m.printer, at, answerLimit,
					marked(mark)); err != nil {
					t.Errorf("%s, marked, to %s: %v", network, at, err)
				}
			}
		}
	}
}

// TestKillSwitchInbound answers connections from outside, and begins none.
func TestKillSwitchInbound(t *testing.T) {
	m := newLaptop(t)
	set(t, m.client, killSwitch(func(k *firewall.KillSwitch) {
		k.Inbound, k.GuardDNS = true, true
	}), firewall.Guards{})
	reaches(t, m.outside, m.client, "192.168.0.5:8000", "203.0.113.9")
	reaches(t, m.printer, m.client, "[2001:db8:1::5]:8000", "2001:db8:1::7")
	refused(t, m.client, m.outside, outside4)
	refused(t, m.client, m.printer, printer6)
}

// TestKillSwitchBasics has DHCP and neighbor discovery pass, and what is like them not.
func TestKillSwitchBasics(t *testing.T) {
	m := newLaptop(t)
	set(t, m.client, killSwitch(nil), firewall.Guards{})
	send := func(from, to string) error {
		local, err := netip.ParseAddrPort(from)
		if err != nil {
			t.Fatal(err)
		}
		return m.client.Do(func() error { return sendUDP(local, netip.MustParseAddrPort(to)) })
	}
	seen := startCapture(t, m.router)
	defer seen.close()
	for _, test := range []struct {
		from, to string
		passes   bool
	}{
		{"0.0.0.0:68", "255.255.255.255:67", true},
		{"192.168.0.5:68", "192.168.0.1:67", true}, // a renewal
		{"192.168.0.5:68", "192.168.0.1:68", false},
		{"192.168.0.5:69", "192.168.0.1:67", false},
		{"[2001:db8:1::5]:546", "[ff02::1:2]:547", true},
		{"[2001:db8:1::5]:546", "[2001:db8:1::1]:547", false},
		{"[2001:db8:1::5]:547", "[ff02::1:2]:547", false},
		{"[2001:db8:1::5]:68", "[2001:db8:1::1]:67", false},
	} {
		err := send(test.from, test.to)
		if (err == nil) != test.passes {
			t.Errorf("%s to %s: %v", test.from, test.to, err)
		}
		lines := slices.DeleteFunc(seen.read(), func(line string) bool {
			return line == "224.0.0.22" // a report of IGMP, when the kernel likes
		})
		if slices.Contains(lines, "udp "+test.to) != test.passes || !test.passes && len(lines) > 0 {
			t.Errorf("%s to %s: seen %v", test.from, test.to, lines)
		}
	}
	// A neighbor is found although nothing else passes: a marked packet goes to it.
	m.client.Run("ip", "neigh", "flush", "all")
	m.router.Run("ip", "neigh", "flush", "all")
	if _, err := exchange("tcp", m.client, m.outside, outside6, answerLimit,
		marked(mark)); err != nil {
		t.Error(err)
	}
	if out, _, code := m.client.Try("ping", "-6", "-c1", "-W1", "2001:db8:1::1"); code == 0 {
		t.Errorf("a ping passes as if it were neighbor discovery:\n%s", out)
	}
}

// sendUDP sends a datagram from the first interface, whatever the routes say.
func sendUDP(from, to netip.AddrPort) error { return sendBy("eth0", from, to) }

// sendBy sends a datagram from an interface, whatever the routes say.
func sendBy(dev string, from, to netip.AddrPort) error {
	family := unix.AF_INET
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.BindToDevice(fd, dev))
	if err != nil {
		return err
	}
	var local, remote unix.Sockaddr
	if family == unix.AF_INET {
		local = &unix.SockaddrInet4{Port: int(from.Port()), Addr: from.Addr().As4()}
		remote = &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	} else {
		local = &unix.SockaddrInet6{Port: int(from.Port()), Addr: from.Addr().As16()}
		remote = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	}
	if err := unix.Bind(fd, local); err != nil {
		return err
	}
	return unix.Sendto(fd, []byte("word"), 0, remote)
}

// TestReplacedWithoutGap replaces the table again and again, with other contents each time, while a
// program sends without pause: no packet is seen outside.
func TestReplacedWithoutGap(t *testing.T) {
	m := newLaptop(t)
	seen := startCapture(t, m.outside)
	defer seen.close()
	var sent atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- m.client.Do(func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			to := &unix.SockaddrInet4{Port: 9, Addr: [4]byte{203, 0, 113, 9}}
			for ctx.Err() == nil {
				_ = unix.Sendto(fd, []byte("word"), 0, to) // refused or not
				sent.Add(1)
			}
			return nil
		})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	waitFor(t, func() bool { return sent.Load() > 1000 })
	set(t, m.client, killSwitch(nil), firewall.Guards{})
	if lines := seen.read(); !slices.Contains(lines, "udp 203.0.113.9:9") {
		t.Fatalf("nothing was sent before: %d packets", len(lines))
	}
	for i := range 100 {
		before := sent.Load()
		set(t, m.client, killSwitch(func(k *firewall.KillSwitch) {
			k.Inbound, k.GuardDNS = i%2 == 0, i%3 == 0
		}), firewall.Guards{})
		waitFor(t, func() bool { return sent.Load() > before })
	}
	if lines := seen.read(); len(lines) > 0 {
		t.Errorf("%d of %d packets are seen outside, such as %s", len(lines), sent.Load(), lines[0])
	}
}

func waitFor(t *testing.T, true func() bool) {
	t.Helper()
	for until := time.Now().Add(answerLimit); !true(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("nothing is sent")
		}
	}
}
