package firewall_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/e2e/lab"
	"tunnel/firewall"
)

// sixInside gives a laptop's container IPv6, which it reaches all by.
func sixInside(t *testing.T, m laptop) {
	t.Helper()
	m.client.Sysctl("net.ipv6.conf.all.forwarding", "1")
	m.client.Run("ip", "-6", "route", "replace", "default", "via", "2001:db8:1::1")
	m.client.Run("ip", "addr", "add", "2001:db8:5::1/64", "dev", m.inside, "nodad")
	inside := m.container.Run("sh", "-c",
		"ip -o -4 addr show to 172.17.0.2 | cut -d' ' -f2 | tr -d '\\n'")
	m.container.Run("ip", "addr", "add", "2001:db8:5::2/64", "dev", inside, "nodad")
	m.container.Run("ip", "-6", "route", "add", "default", "via", "2001:db8:5::1")
	m.router.Run("ip", "-6", "route", "add", "2001:db8::/32", "via", "2001:db8:1::5")
	reaches(t, m.container, m.outside, outside6, "2001:db8:5::2")
}

// sendRaw sends what follows the IP header to an address.
func sendRaw(h *lab.Host, protocol int, payload []byte, to string) error {
	return h.Do(func() error {
		addr := netip.MustParseAddr(to)
		family, at := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: addr.As16()})
		if addr.Is4() {
			family, at = unix.AF_INET, &unix.SockaddrInet4{Addr: addr.As4()}
		}
		fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
		if err != nil {
			return err
		}
		return errors.Join(unix.Sendto(fd, payload, 0, at), unix.Close(fd))
	})
}

// TestRefuseInvalid has a container send by IPv6 what belongs to no connection: a TCP segment
// without flags.
func TestRefuseInvalid(t *testing.T) {
	m := newLaptop(t)
	sixInside(t, m)
	seen := startCapture(t, m.outside)
	defer seen.close()
	segment := make([]byte, 20)
	segment[0], segment[3], segment[12] = 4, 80, 0x50
	const line = "tcp [2001:db8:9::9]:80"
	send := func() bool {
		t.Helper()
		if err := sendRaw(m.container, unix.IPPROTO_TCP, segment, "2001:db8:9::9"); err != nil {
			t.Fatal(err)
		}
		return slices.Contains(seen.read(), line)
	}
	if !send() {
		t.Error("without a table it does not leave")
	}
	set(t, m.client, refusing(m.inside), firewall.Guards{})
	if send() {
		t.Error("it leaves")
	}
}

// TestOverlayMark has a container send through an overlay network of this machine: what is in a
// packet to this machine is not for it.
func TestOverlayMark(t *testing.T) {
	m := newLaptop(t)
	sixInside(t, m)
	for _, end := range []struct {
		host               *lab.Host
		local, remote, six string
	}{{m.client, "172.17.0.1", "172.17.0.2", "2001:db8:6::1/64"},
		{m.container, "172.17.0.2", "172.17.0.1", "2001:db8:6::2/64"}} {
		end.host.Run("ip", "link", "add", "vx0", "type", "vxlan", "id", "5", "local", end.local,
			"remote", end.remote, "dstport", "4789")
		end.host.Run("ip", "addr", "add", end.six, "dev", "vx0", "nodad")
		end.host.Run("ip", "link", "set", "vx0", "up")
	}
	m.container.Run("ip", "-6", "route", "replace", "default", "via", "2001:db8:6::1")
	reaches(t, m.container, m.outside, outside6, "2001:db8:6::2")
	set(t, m.client, refusing(m.inside), firewall.Guards{})
	cannotReach(t, m.container, m.outside, outside6)
	reaches(t, m.outside, m.client, "192.168.0.5:8000", "203.0.113.9")
}

// TestNoAnswers has a neighbor send a packet of a protocol that has no connections: this machine
// sends it none after that.
func TestNoAnswers(t *testing.T) {
	const protocol = 253 // for experiments (RFC 3692)
	for name, r := range map[string]firewall.Rules{"full tunnel": refusing("lan0"),
		"kill switch": killSwitch(func(k *firewall.KillSwitch) { k.Inbound = true })} {
		t.Run(name, func(t *testing.T) {
			m := newLaptop(t)
			seen := startCapture(t, m.outside)
			defer seen.close()
			set(t, m.client, r, firewall.Guards{})
			if err := sendRaw(m.outside, protocol, []byte("word"), "192.168.0.5"); err != nil {
				t.Fatal(err)
			}
			if lines := seen.read(); !slices.Contains(lines, "icmp 203.0.113.9") {
				t.Errorf("this machine has not seen it: %v", lines)
			}
			err := sendRaw(m.client, protocol, []byte("word"), "203.0.113.9")
			if lines := seen.read(); err == nil || slices.Contains(lines, "203.0.113.9") {
				t.Errorf("%v leaves, %v", lines, err)
			}
			reaches(t, m.outside, m.client, "192.168.0.5:8000", "203.0.113.9")
		})
	}
}

// TestPosing has a container pose as a host of the internet that asks for the container's own
// published port, and then send there.
func TestPosing(t *testing.T) {
	m := newLaptop(t)
	sixInside(t, m)
	m.client.Run("nft", "add table ip6 other; add chain ip6 other p "+
		"{ type nat hook prerouting priority -100; }; add rule ip6 other p fib daddr type local "+
		"meta l4proto { tcp, udp } th dport 8080 dnat to 2001:db8:5::2")
	seen := startCapture(t, m.outside)
	defer seen.close()
	pose := func(port string) bool {
		t.Helper()
		send := func(from, to string) {
			t.Helper()
			if err := m.container.Do(func() error {
				return sendUDP(netip.MustParseAddrPort(from), netip.MustParseAddrPort(to))
			}); err != nil {
				t.Fatal(err)
			}
		}
		m.container.Run("ip", "addr", "add", "2001:db8:9::9/128", "dev", "lo", "nodad")
		send("[2001:db8:9::9]:"+port, "[2001:db8:5::1]:8080")
		m.container.Run("ip", "addr", "del", "2001:db8:9::9/128", "dev", "lo")
		send("[2001:db8:5::2]:8080", "[2001:db8:9::9]:"+port)
		return slices.Contains(seen.read(), "udp [2001:db8:9::9]:"+port)
	}
	r := refusing(m.inside)
	r.Outside.Uplinks = []string{"eth0", m.inside}
	set(t, m.client, r, firewall.Guards{})
	if !pose("7000") {
		t.Error("not by an uplink either")
	}
	r.Outside.Uplinks = []string{"eth0"}
	set(t, m.client, r, firewall.Guards{})
	if pose("7001") {
		t.Error("it leaves")
	}
	reaches(t, m.outside, m.container, "[2001:db8:1::5]:8080", "2001:db8:9::9")
	reaches(t, m.outside, m.client, "192.168.0.5:8000", "203.0.113.9")
	reaches(t, m.printer, m.client, "192.168.0.5:8000", "192.168.0.7")
	reaches(t, m.container, m.client, "172.17.0.1:8000", "172.17.0.2")
	reaches(t, m.container, m.client, "[2001:db8:5::1]:8000", "2001:db8:5::2")
}
