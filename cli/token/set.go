package token

import (
	"fmt"
	"net/netip"

	"github.com/urfave/cli/v2"

	"tunnel/auth"
	"tunnel/cli/failure"
	"tunnel/config/location"
	"tunnel/config/setting"
	"tunnel/transport"
)

// valueNone is the value of a list that is to be empty.
const valueNone = "none"

func tokenSet(c *cli.Context) error {
	name, err := tokenName(c)
	if err != nil {
		return err
	}
	change, err := tokenChange(c)
	if err != nil {
		return err
	}
	return withTokens(c, false, func(t tokens) error {
		if err := t.Set(c.Context, name, change); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.App.Writer, "changed %s\n", name)
		return err
	})
}

// tokenChange returns the change that the flags describe.
func tokenChange(c *cli.Context) (change auth.Change, err error) {
	if change.Routes, err = given(c, flagRoute, prefixes); err != nil {
		return change, err
	}
	if change.PushRoutes, err = given(c, flagPushRoute, prefixes); err != nil {
		return change, err
	}
	if change.DNS, err = given(c, flagDNS, dnsServers); err != nil {
		return change, err
	}
	if change.Domains, err = given(c, flagDNSDomain, dnsDomains); err != nil {
		return change, err
	}
	if change == (auth.Change{}) {
		return change, failure.Usage("what is to change? give --%s, --%s, --%s or --%s", flagRoute,
			flagPushRoute, flagDNS, flagDNSDomain)
	}
	return change, nil
}

// given returns the values of a flag as parse reads them, an empty list for valueNone; nil if the
// flag is not given.
func given[T any](c *cli.Context, flag string,
	parse func(*cli.Context, string) ([]T, error)) (*[]T, error) {
	if !c.IsSet(flag) {
		return nil, nil //nolint:nilnil // the list stays as it is
	}
	if texts := c.StringSlice(flag); len(texts) == 1 && texts[0] == valueNone {
		return &[]T{}, nil
	}
	all, err := parse(c, flag)
	return &all, err
}

// words returns the values of a flag that may be given several times, each with several values as
// the flags of serve take them. One without a value is refused: it would empty a list.
func words(c *cli.Context, flag string) (all []string, err error) {
	for _, text := range c.StringSlice(flag) {
		some := setting.ByCommas(text)
		if len(some) == 0 {
			return nil, failure.Usage("--%s is empty: give a value or leave it out", flag)
		}
		all = append(all, some...)
	}
	return all, nil
}

// prefixes returns the values of a flag.
func prefixes(c *cli.Context, flag string) (all []netip.Prefix, err error) {
	texts, err := words(c, flag)
	if err != nil {
		return nil, err
	}
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, failure.Usage("--%s %s is not a prefix like 192.168.7.0/24", flag, text)
		}
		if prefix != prefix.Masked() {
			return nil, failure.Usage("--%s %s has host bits set, its prefix is %s", flag, text,
				prefix.Masked())
		}
		all = append(all, prefix)
	}
	return all, nil
}

// dnsServers returns the values of a flag.
func dnsServers(c *cli.Context, flag string) (all []netip.Addr, err error) {
	texts, err := words(c, flag)
	if err != nil {
		return nil, err
	}
	for _, text := range texts {
		a, err := location.ParseDNS(text)
		if err != nil {
			return nil, failure.Usage("--%s%w", flag, err)
		}
		all = append(all, a)
	}
	if err := transport.CheckDNS(all); err != nil {
		return nil, failure.Usage("--%s: %w", flag, err)
	}
	return all, nil
}

// dnsDomains returns the values of a flag.
func dnsDomains(c *cli.Context, flag string) (all []string, err error) {
	texts, err := words(c, flag)
	if err != nil {
		return nil, err
	}
	for _, text := range texts {
		name, err := location.ParseDomain(text)
		if err != nil {
			return nil, failure.Usage("--%s%w", flag, err)
		}
		all = append(all, name)
	}
	if err := transport.CheckDomains(all); err != nil {
		return nil, failure.Usage("--%s: %w", flag, err)
	}
	return all, nil
}
