// Package conf reads lines of resolv.conf(5), in every form that a C library reads.
package conf

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode"
)

// Nameservers returns the nameserver lines of a resolv.conf, in every form that a C library reads.
// What only some of them read counts too.
func Nameservers(text string) []netip.Addr {
	var all []netip.Addr
	for line := range strings.Lines(text) { // of any length
		// To a C library a NUL ends the line.
		words := strings.FieldsFunc(line, func(r rune) bool { return unicode.IsSpace(r) || r == 0 })
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, ok := Nameserver(words[1]); ok {
			all = append(all, a.Unmap())
		}
	}
	return all
}

// Nameserver reads an address as the resolvers of C libraries do: by inet_aton(3), else by
// inet_pton(3) up to a %.
func Nameserver(text string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		return a, true
	}
	if a, ok := shortIPv4(text); ok {
		return a, true
	}
	text, _, _ = strings.Cut(text, "%")
	a, err := netip.ParseAddr(text)
	return a, err == nil
}

// shortIPv4 reads an address in the form of inet_aton(3): one to four numbers, each decimal, octal
// with a leading 0, or hexadecimal with a leading 0x. The last has all bytes that are left.
func shortIPv4(text string) (netip.Addr, bool) {
	parts := strings.Split(text, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var bytes [4]byte
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 0, 32)
		if err != nil {
			return netip.Addr{}, false
		}
		if i == len(parts)-1 {
			for at := 3; at >= i; at-- {
				bytes[at] = byte(n)
				n >>= 8
			}
		} else {
			bytes[i] = byte(n)
			n >>= 8
		}
		if n != 0 {
			return netip.Addr{}, false
		}
	}
	return netip.AddrFrom4(bytes), true
}

// IsSetting reports whether a line is more than a comment.
func IsSetting(line string) bool {
	line = strings.TrimSpace(line)
	return line != "" && line[0] != '#' && line[0] != ';'
}

// Bare returns a line without its end, a line feed or a carriage return before that.
func Bare(line string) string {
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
}

// Ended returns lines with the end of the last.
func Ended(text string) string {
	if text == "" || strings.HasSuffix(text, "\n") {
		return text
	}
	return text + "\n"
}
