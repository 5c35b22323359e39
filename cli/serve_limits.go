package cli

import (
	"net/netip"
	"strings"

	"github.com/urfave/cli/v2"
)

const (
	flagMaxConnections = "max-connections"
	flagMaxPerAddress  = "max-per-address"
	flagTrustedProxy   = "trusted-proxy"
)

// limitFlags returns the flags of serve that bound what strangers and clients can take.
func limitFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: flagMaxConnections, Category: categoryServer, EnvVars: env(flagMaxConnections), Value: 20000, Usage: "most connections at once, a `NUMBER`; 0 is no limit"},
		&cli.IntFlag{Name: flagMaxPerAddress, Category: categoryServer, EnvVars: env(flagMaxPerAddress), Value: 256, Usage: "most connections at once from one IPv4 address or IPv6 /64, a `NUMBER`; 0 is no limit. This machine's own are not counted"},
		&cli.StringSliceFlag{Name: flagTrustedProxy, Category: categoryServer, EnvVars: env(flagTrustedProxy), Usage: "believe X-Forwarded-For from this `PREFIX` or address; may be repeated, or have commas"},
	}
}

// checkLimits checks the flags of limitFlags.
func checkLimits(c *cli.Context) error {
	for _, flag := range []string{flagMaxConnections, flagMaxPerAddress} {
		if n := c.Int(flag); n < 0 {
			return usage("--%s %d is less than 0", flag, n)
		}
	}
	for _, text := range proxyTexts(c) {
		prefix, ok := proxyPrefix(text)
		if !ok {
			return usage("--%s %s is neither a prefix like 192.0.2.0/24 nor an address", flagTrustedProxy, text)
		}
		if prefix.Bits() == 0 {
			return usage("--%s %s trusts everybody, and everybody could claim any address", flagTrustedProxy, text)
		}
	}
	return nil
}

// trustedProxies returns the networks of --trusted-proxy, which checkLimits has checked.
func trustedProxies(c *cli.Context) (all []netip.Prefix) {
	for _, text := range proxyTexts(c) {
		if prefix, ok := proxyPrefix(text); ok {
			all = append(all, prefix)
		}
	}
	return all
}

// proxyTexts returns what --trusted-proxy names. The environment variable has them separated by commas.
func proxyTexts(c *cli.Context) (all []string) {
	for _, text := range c.StringSlice(flagTrustedProxy) {
		all = append(all, strings.Split(text, ",")...)
	}
	return all
}

// proxyPrefix returns the prefix in text; an address stands for itself.
func proxyPrefix(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	prefix, err := netip.ParsePrefix(text)
	return prefix, err == nil && !prefix.Addr().Is4In6()
}
