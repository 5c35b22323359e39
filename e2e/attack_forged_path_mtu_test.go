package e2e

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tunnel/e2e/hostile"
)

// A client sends ICMP "fragmentation needed" about connections of others, which would lower the
// server kernel's path MTU for ten minutes: the server drops these and passes those about the
// client's own packets.
func TestForgedPathMTU(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	bin.connect(t, clients[0], directURL).WaitFor("address 10.1.1.3 ", soon)
	s := dialSession(t, clients[1], "ip")
	for _, quoted := range [][2]string{
		{"10.1.1.1", "10.1.1.3"}, {directServer, "198.51.100.2"},
		{directServer, "192.0.2.77"}, {"10.1.1.1", s.address},
	} {
		for range 3 {
			s.write(hostile.Frame(0x82, tooBig(s.address, "10.1.1.1", quoted[0], quoted[1], 600)))
		}
	}
	mtu := func(to string) string { return server.Run("ip", "route", "get", to) }
	eventually(t, "what it says of its own packets arrives",
		func() bool { return strings.Contains(mtu(s.address), "mtu 600") })
	time.Sleep(100 * time.Millisecond)
	for _, to := range []string{"10.1.1.3", "198.51.100.2"} {
		if got := mtu(to); strings.Contains(got, "mtu") {
			t.Errorf("the server believes it of %s: %s", to, got)
		}
	}
}

// tooBig returns an ICMP message "fragmentation needed" about an echo reply from sender to
// receiver.
func tooBig(from, to, sender, receiver string, mtu uint16) []byte {
	quoted := ipv4(1, sender, receiver, []byte{0, 0, 0xff, 0xff, 0, 0, 0, 0})
	message := append([]byte{3, 4, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)}, quoted...)
	binary.BigEndian.PutUint16(message[2:], checksumOf(message))
	return ipv4(1, from, to, message)
}

// ipv4 returns an IPv4 packet with a body.
func ipv4(protocol byte, from, to string, body []byte) []byte {
	ip := make([]byte, 20, 20+len(body))
	ip[0], ip[8], ip[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(ip[2:], uint16(20+len(body)))
	copy(ip[12:], netip.MustParseAddr(from).AsSlice())
	copy(ip[16:], netip.MustParseAddr(to).AsSlice())
	binary.BigEndian.PutUint16(ip[10:], checksumOf(ip))
	return append(ip, body...)
}

// checksumOf returns the Internet checksum (RFC 1071) of an even number of bytes.
func checksumOf(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
