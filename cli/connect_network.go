package cli

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// The files that name this machine's DNS servers, as resolv.conf(5) and systemd-resolved(8) say.
const (
	resolvConf     = "/etc/resolv.conf"
	resolvedUplink = "/run/systemd/resolve/resolv.conf" // when resolvConf names systemd-resolved itself
)

// resolvers returns the addresses of this machine's DNS servers, as far as files tell. A file that is not there names none;
// one that cannot be read is an error.
func resolvers() ([]netip.Addr, error) {
	all, err := nameserversOf(resolvConf)
	for _, stub := range []string{"127.0.0.53", "127.0.0.54"} {
		if slices.Contains(all, netip.MustParseAddr(stub)) {
			more, err := nameserversOf(resolvedUplink)
			return append(all, more...), err
		}
	}
	return all, err
}

func nameserversOf(file string) ([]netip.Addr, error) {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return nameservers(text), nil
}

// nameservers returns the nameserver lines of a resolv.conf.
func nameservers(text []byte) []netip.Addr {
	var all []netip.Addr
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			all = append(all, a.Unmap())
		}
	}
	return all
}
