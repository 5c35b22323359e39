package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"tunnel/client"
	"tunnel/ipcmd"
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

// guarded returns what to count as this machine's DNS servers that no network of a tunnel may contain; nil is none. They are
// the user's own to give away, by --network: not under AT_SECURE, where the user has no right to other users' questions.
func guarded(c *cli.Context) func() ([]netip.Addr, error) {
	if c.Command.Name == "connect" && len(words(c.StringSlice(flagNetwork))) == 0 || ipcmd.SecureMode() {
		return resolvers
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

// maxResolvConf bounds a resolv.conf, in bytes; DHCP servers and other users' programs have a say in it.
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
