package packet

import (
	"errors"
	"net/netip"
	"testing"
)

// header4 returns an IPv4 header of n bytes, without options that mean anything, and what follows
// it.
func header4(protocol byte, from, to string, n int, body ...byte) []byte {
	ip := make([]byte, n, n+len(body))
	ip[0], ip[9] = 0x40|byte(n/4), protocol
	copy(ip[12:], netip.MustParseAddr(from).AsSlice())
	copy(ip[16:], netip.MustParseAddr(to).AsSlice())
	for i := 20; i < n; i++ {
		ip[i] = optionNop
	}
	return append(ip, body...)
}

func header6(next byte, from, to string, body ...byte) []byte {
	ip := make([]byte, 40, 40+len(body))
	ip[0], ip[6] = 0x60, next
	copy(ip[8:], netip.MustParseAddr(from).AsSlice())
	copy(ip[24:], netip.MustParseAddr(to).AsSlice())
	return append(ip, body...)
}

func TestICMPError(t *testing.T) {
	message := func(kind byte,
		quoted []byte) []byte {
		return append([]byte{kind, 4, 0, 0, 0, 0, 2, 40}, quoted...)
	}
	mine := header4(6, "10.1.1.1", "10.1.1.3", 20)
	others := header4(6, "10.1.1.1", "10.1.1.5", 20)
	six := header6(6, "fd00::1", "fd00::3")
	error4 := func(n int,
		body []byte) []byte {
		return header4(protocolICMP, "10.1.1.3", "10.1.1.1", n, body...)
	}
	fragment := func(offset byte, body []byte) []byte {
		ip := error4(20, body)
		ip[6], ip[7] = 0x20, offset
		return ip
	}
	for name, test := range map[string]struct {
		ip   []byte
		want error
	}{
		"about its own":   {error4(20, message(3, mine)), nil},
		"with options":    {error4(24, message(3, mine)), nil},
		"about another's": {error4(20, message(3, others)), ErrICMP},
		"about its own, sent": {error4(20, message(3, header4(6, "10.1.1.3", "10.1.1.1", 20))),
			ErrICMP},
		"cut short":    {error4(20, message(3, mine[:19])), ErrICMP},
		"quoting IPv6": {error4(20, message(3, six[:20])), ErrICMP},
		"a redirect":   {error4(20, message(5, mine)), ErrICMP},
		"a ping":       {error4(20, message(8, others)), nil},
		"empty":        {error4(20, nil), nil},
		"TCP": {header4(6, "10.1.1.3", "10.1.1.1", 20, message(3, others)...),
			nil},
		"first fragment":        {fragment(0, message(3, others)), ErrICMP},
		"first fragment, short": {fragment(0, message(3, nil)), ErrICMP},
		"later fragment":        {fragment(4, message(3, others)), nil},
		"overlapping fragment":  {fragment(3, message(3, others)), ErrSourceRoute},
		"overlapping quote":     {fragment(1, message(3, others)), ErrSourceRoute},
		"IPv6 about its own": {header6(protocolICMPv6, "fd00::3", "fd00::1", message(2, six)...),
			nil},
		"IPv6 about another's": {header6(protocolICMPv6, "fd00::3", "fd00::1",
			message(2, header6(6, "fd00::1", "fd00::5"))...), ErrICMP},
		"IPv6 cut short": {header6(protocolICMPv6, "fd00::3", "fd00::1",
			message(2, six[:39])...), ErrICMP},
		"IPv6 redirect": {header6(protocolICMPv6, "fd00::3", "fd00::1",
			message(137, six)...), ErrICMP},
		"IPv6 ping": {header6(protocolICMPv6, "fd00::3", "fd00::1",
			message(128, six)...), nil},
	} {
		if err := checkPaths(test.ip); !errors.Is(err, test.want) {
			t.Errorf("%s: %v; want %v", name, err, test.want)
		}
	}
}

// checkPaths is CheckPaths for a sender that has received packets from the receiver.
func checkPaths(ip []byte) error {
	return CheckPaths(ip,
		func(from, to netip.Addr) bool { return from == Destination(ip) && to == Source(ip) })
}

func TestSourceRouted(t *testing.T) {
	with := func(options ...byte) []byte {
		ip := header4(6, "10.1.1.3", "10.1.1.1", 20+len(options))
		copy(ip[20:], options)
		return ip
	}
	for name, test := range map[string]struct {
		ip   []byte
		want bool
	}{
		"none":               {with(), false},
		"router alert":       {with(148, 4, 0, 0), false},
		"LSRR":               {with(131, 7, 4, 10, 99, 0, 2, 0), true},
		"SSRR behind others": {with(1, 148, 4, 0, 0, 137, 7, 4, 10, 99, 0, 2), true},
		"behind the end":     {with(0, 131, 7, 4, 10, 99, 0, 2), false},
		"length of 0":        {with(148, 0, 131, 7), true},
		"longer than it is":  {with(148, 9, 0, 0), true},
		"a lone byte":        {with(1, 1, 1, 148), true},
		"IPv6":               {header6(6, "fd00::3", "fd00::1"), false},
	} {
		if got := sourceRouted(test.ip); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestQuoted(t *testing.T) {
	quoted := header4(17, "10.1.1.3", "192.168.7.9", 20)
	message := func(kind byte) []byte { return append([]byte{kind, 4, 0, 0, 0, 0, 4, 176}, quoted...) }
	error4 := func(protocol byte, n int, body []byte) []byte {
		return header4(protocol, "172.20.0.2", "10.1.1.3", n, body...)
	}
	fragment := error4(protocolICMP, 20, message(3))
	fragment[7] = 1
	routed := error4(protocolICMP, 24, message(3))
	copy(routed[20:], []byte{optionLooseSource, 4, 4, 0})
	for name, test := range map[string]struct {
		ip []byte
		ok bool
	}{
		"unreachable":       {error4(protocolICMP, 20, message(3)), true},
		"with options":      {error4(protocolICMP, 24, message(3)), true},
		"time exceeded":     {error4(protocolICMP, 20, message(11)), true},
		"parameter problem": {error4(protocolICMP, 20, message(12)), true},
		"source quench":     {error4(protocolICMP, 20, message(4)), false},
		"a redirect":        {error4(protocolICMP, 20, message(5)), false},
		"a ping":            {error4(protocolICMP, 20, message(8)), false},
		"UDP":               {error4(17, 20, message(3)), false},
		"a later fragment":  {fragment, false},
		"a source route":    {routed, false},
		"cut short":         {error4(protocolICMP, 20, message(3)[:27]), false},
		"empty":             {error4(protocolICMP, 20, nil), false},
		"quoting IPv6": {error4(protocolICMP, 20, append(message(3)[:8],
			header6(17, "fd00::1", "fd00::3")...)), false},
		"IPv6": {header6(protocolICMPv6, "fd00::3", "fd00::1", message(1)...), false},
	} {
		sender, receiver, ok := Quoted(test.ip)
		if ok != test.ok || ok && (sender.String() != "10.1.1.3" ||
			receiver.String() != "192.168.7.9") {
			t.Errorf("%s: %s to %s, %v", name, sender, receiver, ok)
		}
	}
}
