package machine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"tunnel/cli/invocation"
	"tunnel/cmdrun"
)

// The files that name this machine's DNS servers, as resolv.conf(5) and systemd-resolved(8) say.
const (
	resolvConf = "/etc/resolv.conf"
	// when resolvConf names systemd-resolved itself
	resolvedUplink = "/run/systemd/resolve/resolv.conf"
)

// Resolvers returns the addresses of this machine's DNS servers that its files name. A missing file
// names none; an unreadable one is an error.
func Resolvers() ([]netip.Addr, error) {
	all, err := nameserversOf(resolvConf)
	for _, stub := range []string{"127.0.0.53", "127.0.0.54"} {
		if slices.Contains(all, netip.MustParseAddr(stub)) {
			more, err := nameserversOf(resolvedUplink)
			return append(all, more...), err
		}
	}
	return all, err
}

// guarded returns the function that names the DNS servers which a tunnel's network must not
// contain; nil for none. A user may include them by --network, but not under AT_SECURE, where the
// user has no right to other users' DNS queries.
func guarded(i *invocation.Invocation) func() ([]netip.Addr, error) {
	if i.Connect != nil && len(i.Connect.Network) == 0 || cmdrun.SecureMode() {
		return Resolvers
	}
	return nil
}

func nameserversOf(file string) ([]netip.Addr, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxResolvConf+1))
	if err == nil && len(text) > maxResolvConf {
		err = fmt.Errorf("%s has more than %d KiB", file, maxResolvConf>>10)
	}
	return nameservers(text), err
}

// maxResolvConf bounds a resolv.conf, in bytes: DHCP servers and other programs can write to it.
const maxResolvConf = 256 << 10

// nameservers returns the nameserver lines of a resolv.conf, in every form that a C library reads.
// What only some of them read counts too.
func nameservers(text []byte) []netip.Addr {
	var all []netip.Addr
	for line := range strings.Lines(string(text)) { // of any length
		// To a C library a NUL ends the line.
		words := strings.FieldsFunc(line, func(r rune) bool { return unicode.IsSpace(r) || r == 0 })
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, ok := nameserver(words[1]); ok {
			all = append(all, a.Unmap())
		}
	}
	return all
}

// nameserver reads an address as the resolvers of C libraries do: by inet_aton(3), else by
// inet_pton(3) up to a %.
func nameserver(text string) (netip.Addr, bool) {
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
