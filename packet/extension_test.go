package packet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// behind6 returns an IPv6 packet of fd00::3 to fd00::1 with these headers before body, whose
// protocol the last of them names.
func behind6(first byte, body []byte, headers ...[]byte) []byte {
	return header6(first, "fd00::3", "fd00::1", append(bytes.Join(headers, nil), body...)...)
}

// Whatever extension headers an ICMPv6 error stands behind, it is judged or not passed on, and no
// routing header has segments left.
func TestExtensionHeaders(t *testing.T) {
	message := func(kind byte, to string) []byte {
		return append([]byte{kind, 0, 0, 0, 0, 0, 5, 0}, header6(6, "fd00::1", to)...)
	}
	mine, others := message(2, "fd00::3"), message(2, "2001:db8::1")
	next := func(n byte) []byte { return []byte{n, 0, 1, 4, 0, 0, 0, 0} }
	long := func(n,
		units byte) []byte {
		return append([]byte{n, units}, make([]byte, 8*int(units)+6)...)
	}
	fragment := func(n byte, at uint16, more uint16) []byte {
		h := []byte{n, 0, 0, 0, 0, 0, 0, 1}
		binary.BigEndian.PutUint16(h[2:], at|more)
		return h
	}
	routing := func(n, kind,
		left byte) []byte {
		return append([]byte{n, 2, kind, left}, make([]byte, 20)...)
	}
	ah := append([]byte{58, 4}, make([]byte, 22)...)
	udp := make([]byte, 600)
	many := bytes.Repeat(next(60), 7)
	for name, test := range map[string]struct {
		ip   []byte
		want error
	}{
		"bare":                   {behind6(58, others), ErrICMP},
		"of type 0":              {behind6(58, message(0, "2001:db8::1")), ErrICMP},
		"a router advertisement": {behind6(58, message(134, "fd00::3")), ErrICMP},
		"a neighbor advertisement behind options": {behind6(60, message(136, "fd00::3"), next(58)),
			ErrICMP},
		"destination options":          {behind6(60, others, next(58)), ErrICMP},
		"destination options, its own": {behind6(60, mine, next(58)), nil},
		"hop-by-hop":                   {behind6(0, others, next(58)), ErrICMP},
		"three of options": {behind6(60, others, next(60), next(60),
			next(58)), ErrICMP},
		"AH":          {behind6(51, others, ah), ErrICMP},
		"AH, its own": {behind6(51, mine, ah), nil},
		"atomic fragment": {behind6(44, others, fragment(58, 0, 0)),
			ErrICMP},
		"atomic fragment, its own": {behind6(44, mine, fragment(58, 0, 0)), nil},
		"fragment and options": {behind6(44, others, fragment(60, 0, 1),
			next(58)), ErrICMP},
		"first fragment": {behind6(44, others, fragment(58, 0, 1)),
			ErrICMP},
		"first fragment, cut in the quote": {behind6(44, mine[:16], fragment(58, 0, 1)),
			ErrICMP},
		"first fragment, cut in the options": {behind6(44, nil, fragment(60, 0, 1),
			next(58)[:4]), ErrSourceRoute},
		"first fragment, cut before them": {behind6(44, nil, fragment(60, 0, 1)),
			ErrSourceRoute},
		"first fragment of UDP":    {behind6(44, udp, fragment(17, 0, 1)), nil},
		"later fragment":           {behind6(44, udp, fragment(17, 608, 0)), nil},
		"later fragment of ICMPv6": {behind6(44, others, fragment(58, 304, 0)), nil},
		"overlapping fragment": {behind6(44, others, fragment(58, 8, 0)),
			ErrSourceRoute},
		"overlapping fragment that says UDP": {behind6(44, others, fragment(17, 296, 0)),
			ErrSourceRoute},
		"fragment of a fragment": {behind6(44, others, fragment(44, 0, 1),
			fragment(58, 0, 0)), ErrSourceRoute},
		"routing header 0": {behind6(43, udp, routing(17, 0, 1)),
			ErrSourceRoute},
		"routing header 2": {behind6(43, udp, routing(17, 2, 1)),
			ErrSourceRoute},
		"routing header 3": {behind6(43, udp, routing(17, 3, 1)),
			ErrSourceRoute},
		"routing header 4": {behind6(43, udp, routing(17, 4, 1)),
			ErrSourceRoute},
		"routing header behind options": {behind6(60, udp, next(43), routing(17, 4, 1)),
			ErrSourceRoute},
		"routing header in a fragment": {behind6(44, udp, fragment(43, 0, 1),
			routing(17, 4, 1)), ErrSourceRoute},
		"routing header, no segments left": {behind6(43, udp, routing(17, 4, 0)), nil},
		"an error behind it": {behind6(43, others, routing(58, 4, 0)),
			ErrICMP},
		"mobility":      {behind6(135, others, next(58)), ErrSourceRoute},
		"HIP":           {behind6(139, others, next(58)), ErrSourceRoute},
		"shim6":         {behind6(140, others, next(58)), ErrSourceRoute},
		"an experiment": {behind6(253, others, next(58)), ErrSourceRoute},
		"another experiment behind options": {behind6(60, others, next(254), next(58)),
			ErrSourceRoute},
		"as many as there may be":  {behind6(60, mine, many, next(58)), nil},
		"as many, about another's": {behind6(60, others, many, next(58)), ErrICMP},
		"one more": {behind6(60, mine, many, next(60), next(58)),
			ErrSourceRoute},
		"as long as it may be": {behind6(60, mine, long(58, 31)), nil},
		"longer": {behind6(60, mine, long(58, 32)),
			ErrSourceRoute},
		"beyond the packet": {behind6(60, nil, []byte{58, 3, 1, 4, 0, 0, 0,
			0}), ErrSourceRoute},
		"a jumbogram":         {behind6(0, nil), ErrSourceRoute},
		"options and nothing": {behind6(60, nil, next(59)), nil},
		"UDP behind options":  {behind6(60, udp, next(17)), nil},
		"SCTP":                {behind6(132, udp), nil},
		"ESP":                 {behind6(50, others), nil},
	} {
		if err := checkPaths(test.ip); !errors.Is(err, test.want) {
			t.Errorf("%s: %v; want %v", name, err, test.want)
		}
	}
}

// FuzzCheckPaths: a packet with any chain of headers is judged without a panic, and none that
// passes has an ICMPv6 error about another's packet where the first header that is no extension
// header begins.
func FuzzCheckPaths(f *testing.F) {
	others := append([]byte{2, 0, 0, 0, 0, 0, 5, 0}, header6(6, "fd00::1", "2001:db8::1")...)
	f.Add(behind6(58, others))
	f.Add(behind6(60, others, []byte{58, 0, 1, 4, 0, 0, 0, 0}))
	f.Add(behind6(44, others, []byte{58, 0, 0, 1, 0, 0, 0, 1}))
	f.Add(behind6(51, others, append([]byte{58, 4}, make([]byte, 22)...)))
	f.Add(header4(protocolICMP, "10.1.1.3", "10.1.1.1", 24, others...))
	f.Fuzz(func(t *testing.T, ip []byte) {
		if n, err := Length(ip); err != nil {
			return
		} else if ip = ip[:n]; checkPaths(ip) != nil || ip[0]>>4 != 6 {
			return
		}
		next, rest := ip[6], ip[40:]
		for len(rest) >= 8 {
			size := 0
			switch next {
			case 0, 43, 60:
				size = 8 + 8*int(rest[1])
			case 51:
				size = 8 + 4*int(rest[1])
			case 44:
				if size = 8; binary.BigEndian.Uint16(rest[2:])&^7 != 0 {
					return
				}
			}
			if size == 0 {
				break
			}
			if next == 43 && rest[3] != 0 {
				t.Fatalf("%x has a routing header with segments left", ip)
			}
			if len(rest) < size {
				t.Fatalf("%x passes with headers that end beyond it", ip)
			}
			next, rest = rest[0], rest[size:]
		}
		if next == 58 && len(rest) > 0 && rest[0] < 128 {
			if len(rest) < 48 || !bytes.Equal(rest[8+8:8+24], ip[24:40]) ||
				!bytes.Equal(rest[8+24:8+40], ip[8:24]) {
				t.Fatalf("%x is an error about another's packet", ip)
			}
		}
	})
}

// BenchmarkCheckPaths judges what nearly all packets are, and what the slow path is for.
func BenchmarkCheckPaths(b *testing.B) {
	for name, ip := range map[string][]byte{
		"TCP4": super(false, protocolTCP, 64, 64)[HeaderLen:],
		"UDP4": super(false, protocolUDP, 64, 64)[HeaderLen:],
		"TCP6": super(true, protocolTCP, 64, 64)[HeaderLen:],
		"UDP6": super(true, protocolUDP, 64, 64)[HeaderLen:],
		"eight of v6": behind6(60, make([]byte, 64), bytes.Repeat([]byte{60, 0, 1, 4, 0, 0, 0, 0},
			7), []byte{17, 0, 1, 4, 0, 0, 0, 0}),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := checkPaths(ip); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
