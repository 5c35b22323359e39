package packet

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

// datagram returns an IPv4 packet of n bytes with this protocol, from 192.168.7.9 to 10.50.1.9.
func datagram(protocol byte, n int) []byte {
	ip := make([]byte, n)
	ip[0], ip[8], ip[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(ip[2:], uint16(n))
	copy(ip[12:], []byte{192, 168, 7, 9, 10, 50, 1, 9})
	headerChecksum(ip)
	return ip
}

func TestHostUnreachable(t *testing.T) {
	from := netip.MustParseAddr("10.1.1.2")
	for _, n := range []int{28, 60, 548, 549, 1400, 65535} {
		ip := datagram(17, n)
		p := HostUnreachable(from, ip)
		got := p.IP()
		if length, err := Length(got); err != nil || length != len(got) ||
			length != min(n, 548)+28 {
			t.Fatalf("%d bytes: %d, %v", n, length, err)
		}
		if Check(p.Record()) != nil || fold(sum(got[:20], 0)) != 0xffff ||
			fold(sum(got[20:], 0)) != 0xffff {
			t.Errorf("%d bytes: a wrong checksum or header: %x", n, p.Record()[:60])
		}
		if Source(got) != from || Destination(got) != Source(ip) || got[20] != 3 || got[21] != 1 {
			t.Errorf("%d bytes: %x", n, got[:28])
		}
		if string(got[28:]) != string(ip[:len(got)-28]) {
			t.Errorf("%d bytes: another packet is quoted", n)
		}
		// Its receiver takes it for what it is about.
		if err := CheckPaths(got, func(from, to netip.Addr) bool {
			return from == Source(ip) && to == Destination(ip)
		}); err != nil {
			t.Error(err)
		}
		p.Free()
	}
}

func TestHostUnreachableSilent(t *testing.T) {
	echo, errorMessage := datagram(protocolICMP, 60), datagram(protocolICMP, 60)
	echo[20], errorMessage[20] = 8, 3
	fragment, first := datagram(17, 60), datagram(17, 60)
	fragment[7], first[6] = 1, 0x20
	from := func(a byte) []byte {
		ip := datagram(17, 60)
		ip[12] = a
		return ip
	}
	ipv6 := make([]byte, 60)
	ipv6[0], ipv6[5] = 0x60, 20
	for what, test := range map[string]struct {
		ip   []byte
		want bool
	}{
		"echo": {echo, true}, "an error": {errorMessage, false},
		"ICMP without a type": {datagram(protocolICMP, 20), false},
		"a first fragment":    {first, true}, "another": {fragment, false},
		"from nobody": {from(0), false}, "from a loopback": {from(127), false},
		"from a group": {from(224), false}, "from all": {from(255), false}, "IPv6": {ipv6, false},
	} {
		p := HostUnreachable(netip.MustParseAddr("10.1.1.2"), test.ip)
		if (p != nil) != test.want {
			t.Errorf("%s: answered %v", what, p != nil)
		}
	}
}
