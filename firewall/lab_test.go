package firewall_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/e2e/lab"
	"tunnel/firewall"
	"tunnel/nftcmd"
)

// These tests send real packets between network namespaces. The tunnel is a veth pair, of which
// each end is called tun0.

// tunnelBetween joins two hosts by a tun0.
func tunnelBetween(l *lab.Lab, a *lab.Host, aCIDR string, b *lab.Host, bCIDR string) {
	aDev, bDev := l.Link(a, aCIDR, b, bCIDR)
	for host, dev := range map[*lab.Host]string{a: aDev, b: bDev} {
		host.Run("ip", "link", "set", dev, "down")
		host.Run("ip", "link", "set", dev, "name", "tun0")
		host.Run("ip", "link", "set", "tun0", "up")
	}
}

// set makes the table of tun0 on a host.
func set(t *testing.T, h *lab.Host, r firewall.Rules, g firewall.Guards) {
	t.Helper()
	if err := errors.Join(r.Check("tun0", tunnelMTU), g.Check()); err != nil {
		t.Fatal(err)
	}
	if err := setTable(h, r.Table("tun0", tunnelMTU, g)); err != nil {
		t.Fatal(err)
	}
}

const tunnelMTU = 1400

func setTable(h *lab.Host, table nftcmd.Table) error {
	return h.Do(func() error { return firewall.Set(context.Background(), machine(), table) })
}

// unset deletes it.
func unset(t *testing.T, h *lab.Host) {
	t.Helper()
	err := h.Do(func() error {
		_, err := machine().Run.Run(context.Background(),
			nftcmd.Delete(firewall.TableName("tun0")))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// attemptLimit is how long a packet that is dropped is waited for, and answerLimit one that is not.
const (
	attemptLimit = 700 * time.Millisecond
	answerLimit  = 10 * time.Second
)

// exchange sends a word from one host to the port of another over the network "tcp" or "udp", has
// it answered, and returns the source that the other has seen. The port is the test's own.
func exchange(network string, from, to *lab.Host, at string, limit time.Duration,
	control func(fd int) error,
) (seen netip.Addr, err error) {
	_, port, err := net.SplitHostPort(at)
	if err != nil {
		return netip.Addr{}, err
	}
	sources := make(chan netip.Addr, 1)
	stop, err := answer(to, network, ":"+port, sources)
	if err != nil {
		return netip.Addr{}, err
	}
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var conn net.Conn
	err = from.Do(func() (err error) {
		d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
			if control == nil {
				return nil
			}
			return errors.Join(raw.Control(func(fd uintptr) { err = control(int(fd)) }), err)
		}}
		conn, err = d.DialContext(ctx, network, at)
		return err
	})
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		return netip.Addr{}, err
	}
	if _, err := conn.Write([]byte("word")); err != nil {
		return netip.Addr{}, err
	}
	buffer := make([]byte, 16)
	if n, err := conn.Read(buffer); err != nil || string(buffer[:n]) != "word" {
		return netip.Addr{}, fmt.Errorf("the answer is %q: %w", buffer[:n], err)
	}
	return <-sources, nil
}

// answer returns words to where they come from, until stop is called, and sends their sources.
func answer(h *lab.Host, network, at string, sources chan<- netip.Addr) (stop func(), err error) {
	var listener net.Listener
	var packets net.PacketConn
	err = h.Do(func() (err error) {
		config := net.ListenConfig{}
		// The last exchange's connection to this port may not have ended yet.
		for end := time.Now().Add(answerLimit); ; time.Sleep(10 * time.Millisecond) {
			if network == "tcp" {
				listener, err = config.Listen(context.Background(), network, at)
			} else {
				packets, err = config.ListenPacket(context.Background(), network, at)
			}
			if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(end) {
				return err
			}
		}
	})
	if err != nil {
		return nil, err
	}
	note := func(a net.Addr) {
		if seen, err := netip.ParseAddrPort(a.String()); err == nil {
			select {
			case sources <- seen.Addr().Unmap():
			default:
			}
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 16)
		if packets != nil {
			for {
				n, from, err := packets.ReadFrom(buffer)
				if err != nil {
					return
				}
				note(from)
				_, _ = packets.WriteTo(buffer[:n], from)
			}
		}
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			note(conn.RemoteAddr())
			_ = conn.SetDeadline(time.Now().Add(answerLimit))
			n, _ := conn.Read(buffer)
			_, _ = conn.Write(buffer[:n])
			_ = conn.Close()
		}
	}()
	return func() {
		if packets != nil {
			_ = packets.Close()
		} else {
			_ = listener.Close()
		}
		<-done
	}, nil
}

// reaches fails the test unless words by TCP and UDP are answered, and seen from an address.
func reaches(t *testing.T, from, to *lab.Host, at, seenFrom string) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		seen, err := exchange(network, from, to, at, answerLimit, nil)
		if err != nil || seen.String() != seenFrom {
			t.Errorf("%s from %s to %s: seen from %s, want %s, %v", network, from.Name(), at, seen,
				seenFrom, err)
		}
	}
}

// cannotReach fails the test if a word by TCP or UDP is answered.
func cannotReach(t *testing.T, from, to *lab.Host, at string) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		if seen, err := exchange(network, from, to, at, attemptLimit, nil); err == nil {
			t.Errorf("%s from %s reaches %s, seen from %s", network, from.Name(), at, seen)
		}
	}
}

// refused fails the test unless words by TCP and UDP are refused at once.
func refused(t *testing.T, from, to *lab.Host, at string) {
	t.Helper()
	for _, network := range []string{"tcp", "udp"} {
		_, err := exchange(network, from, to, at, answerLimit, nil)
		if !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.EACCES) &&
			!errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("%s from %s to %s: %v", network, from.Name(), at, err)
		}
	}
}

// marked gives a socket a mark.
func marked(mark int) func(fd int) error {
	return func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, mark) }
}

// capture notes what comes in at a host's interfaces one line for each packet,
// without what the kernel's IPv6 sends by itself (ICMPv6).
type capture struct{ fd int }

func startCapture(t *testing.T, h *lab.Host) *capture {
	t.Helper()
	c := &capture{}
	err := h.Do(func() (err error) {
		const all = unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8
		c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, all&0xffff)
		if err != nil {
			return err
		}
		return unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO,
			&unix.Timeval{Usec: 100_000})
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// read returns the packets that have come so far, and waits until none comes for a tenth of a
// second.
func (c *capture) read() (lines []string) {
	buffer := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(c.fd, buffer, 0)
		if err != nil {
			return lines
		}
		if at, ok := from.(*unix.SockaddrLinklayer); ok && at.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if line := describe(buffer[:n]); line != "" {
			lines = append(lines, line)
		}
	}
}

func (c *capture) close() { _ = unix.Close(c.fd) }

// describe names protocol, destination and ports of an IP packet, "" for ARP and ICMPv6.
func describe(p []byte) string {
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		to, _ := netip.AddrFromSlice(p[16:20])
		return ports(p[9], to, p[min(len(p), int(p[0]&15)*4):])
	case len(p) >= 40 && p[0]>>4 == 6 && p[6] != unix.IPPROTO_ICMPV6 && p[6] != 0:
		to, _ := netip.AddrFromSlice(p[24:40])
		return ports(p[6], to, p[40:])
	}
	return ""
}

func ports(protocol byte, to netip.Addr, rest []byte) string {
	name := map[byte]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp",
		unix.IPPROTO_ICMP: "icmp"}[protocol]
	if len(rest) < 4 || name == "icmp" || name == "" {
		return strings.TrimSpace(fmt.Sprint(name, " ", to))
	}
	return fmt.Sprint(name, " ", netip.AddrPortFrom(to, uint16(rest[2])<<8|uint16(rest[3])))
}

// forwardOn switches forwarding on for interfaces of a host, as package sysctl does it.
func forwardOn(h *lab.Host, devs ...string) {
	for _, dev := range devs {
		h.Sysctl("net.ipv4.conf."+dev+".forwarding", "1")
	}
}
