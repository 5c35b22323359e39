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

	"github.com/urfave/cli/v2"

	"tunnel/client"
)

// connectNetworkFlag returns the flag that says which networks this machine takes from a server.
func connectNetworkFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: flagNetwork, Category: categoryNetwork, EnvVars: env(flagNetwork), Usage: "accept only a network that lies in `PREFIX`, which may be a public one, instead of any private one; may be given several times"}
}

// acceptedNetworks returns the networks that --network accepts; none leaves it to the client's own judgement.
func acceptedNetworks(c *cli.Context) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range words(c.StringSlice(flagNetwork)) {
		p, err := netip.ParsePrefix(text)
		switch {
		case err != nil || !p.Addr().Is4():
			return nil, usage("--network %s is not an IPv4 prefix like 10.1.1.0/24", text)
		case p != p.Masked():
			return nil, usage("--network %s has host bits set, its prefix is %s", text, p.Masked())
		case p.Bits() < client.MinNetworkBits || p.Bits() > client.MaxNetworkBits:
			return nil, usage("--network %s: no server can have that, networks are from /%d to /%d", text, client.MinNetworkBits, client.MaxNetworkBits)
		case slices.ContainsFunc(neverRouted(), p.Overlaps):
			return nil, usage("--network %s: these are addresses that no network routes", text)
		}
		all = append(all, p)
	}
	if len(all) == 0 && c.IsSet(flagNetwork) {
		return nil, usage("--network is empty: give a prefix like 10.1.1.0/24")
	}
	return all, nil
}

// neverRouted returns what can be no network whatever a person says: "this network" and loopback (RFC 1122 section
// 3.2.1.3), link-local (RFC 3927), multicast (RFC 5771) and the reserved rest (RFC 1112 section 4).
func neverRouted() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
	}
}

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
