package machine

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

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

// nameservers returns the nameserver lines of a resolv.conf.
func nameservers(text []byte) []netip.Addr {
	var all []netip.Addr
	for line := range strings.Lines(string(text)) { // of any length
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			all = append(all, a.Unmap())
		}
	}
	return all
}
