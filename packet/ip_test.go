package packet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
)

// ipv4 returns an IPv4 packet of n bytes from src to dst; only the fields that this package reads
// are set.
func ipv4(src, dst string, n int) []byte {
	p := make([]byte, n)
	p[0] = 0x45
	binary.BigEndian.PutUint16(p[2:], uint16(n))
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	copy(p[12:], s[:])
	copy(p[16:], d[:])
	return p
}

func ipv6(src, dst string, n int) []byte {
	p := make([]byte, n)
	p[0] = 0x60
	binary.BigEndian.PutUint16(p[4:], uint16(n-ipv6HeaderLen))
	s, d := netip.MustParseAddr(src).As16(), netip.MustParseAddr(dst).As16()
	copy(p[8:], s[:])
	copy(p[24:], d[:])
	return p
}

func TestAddresses(t *testing.T) {
	for _, p := range [][]byte{ipv4("10.1.1.3", "10.1.1.1", 28), ipv6("fd00::3", "fd00::1", 48)} {
		if n, err := Length(append(p, 0xff)); err != nil || n != len(p) {
			t.Errorf("Length = %d, %v; want %d", n, err, len(p))
		}
	}
	if got := Source(ipv4("10.1.1.3", "10.1.1.1", 20)); got != netip.MustParseAddr("10.1.1.3") {
		t.Errorf("Source = %v", got)
	}
	if got := Destination(ipv6("fd00::3", "fd00::1", 40)); got != netip.MustParseAddr("fd00::1") {
		t.Errorf("Destination = %v", got)
	}
}

func TestLengthRefuses(t *testing.T) {
	good := ipv4("10.1.1.3", "10.1.1.1", 40)
	short := bytes.Clone(good)
	short[3] = 19
	optionsCutOff := bytes.Clone(good)
	optionsCutOff[0] = 0x4f
	for name, p := range map[string][]byte{
		"nothing":                {},
		"IPv4 header cut":        good[:19],
		"IPv6 header cut":        ipv6("fd00::3", "fd00::1", 40)[:39],
		"packet cut":             good[:39],
		"total length < header":  short,
		"header length > packet": optionsCutOff,
		"header length under 20": append([]byte{0x44}, good[1:]...),
		"version 5":              append([]byte{0x55}, good[1:]...),
		"version 0 (all zeroes)": make([]byte, 64),
		"IPv6 payload out of end": append(ipv6("fd00::3", "fd00::1", 40)[:4], append([]byte{0, 9},
			make([]byte, 34)...)...),
	} {
		if n, err := Length(p); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: Length = %d, %v; want ErrMalformed", name, n, err)
		}
	}
}
