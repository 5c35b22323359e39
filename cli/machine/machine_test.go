package machine

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/config"
	"tunnel/dns"
	"tunnel/firewall"
	"tunnel/host"
	"tunnel/sysctl"
)

// invocationOf returns what a subcommand is told by its arguments.
func invocationOf(t *testing.T, args ...string) *invocation.Invocation {
	t.Helper()
	var found *cli.Context
	action := func(c *cli.Context) error { found = c; return nil }
	app := &cli.App{Writer: io.Discard, Commands: []*cli.Command{
		{Name: "serve", Flags: invocation.Flags(config.DefaultServe().Settings()), Action: action},
		{Name: "connect", Flags: invocation.Flags(config.DefaultConnect().Settings()),
			Action: action},
	}}
	if err := app.Run(append([]string{"tunnel"}, args...)); err != nil || found == nil {
		t.Fatal(found, err)
	}
	i, err := invocation.New(found)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// TestAllow is what a worker may have its parent set.
func TestAllow(t *testing.T) {
	pair := func(local, peer, network string) host.Want {
		return host.Pair("tun0", 1400, 100, netip.MustParseAddr(local), netip.MustParseAddr(peer),
			netip.MustParsePrefix(network))
	}
	change := func(c host.Want, f func(*host.Want)) host.Want { f(&c); return c }
	hub, spoke := pair("10.1.1.1", "10.1.1.2", "10.1.1.0/24"), pair("10.1.1.3", "10.1.1.4",
		"10.1.1.0/24")
	const alone, both = "connect --full-tunnel", "connect --full-tunnel --kill-switch"
	fullWith := func(c host.Want, command string) host.Want {
		traffic := Traffic(invocationOf(t, strings.Fields(command)...).Connect)
		c.Full, c.LAN, c.Firewall = traffic.Full, traffic.LAN, traffic.Firewall
		return c
	}
	with := func(c host.Want, via string, networks ...string) host.Want {
		for _, n := range networks {
			c.Routes = append(slices.Clone(c.Routes), host.Route{Prefix: netip.MustParsePrefix(n),
				Via: netip.MustParseAddr(via)})
		}
		return c
	}
	named := func(c host.Want, server string, all bool, domains ...string) host.Want {
		c.Names = dns.Config{Servers: []netip.Addr{netip.MustParseAddr(server)}, Domains: domains,
			All: all}
		return c
	}
	const site = "connect --advertise 192.168.1.0/24=10.50.1.0/24"
	atSite := func(c host.Want, command string) host.Want {
		c.Firewall = invocationOf(t, strings.Fields(command)...).Connect.Site().Rules()
		return c
	}
	many := func(c host.Want, n int) host.Want {
		for i := range n {
			c = with(c, c.Addresses[0].Peer.String(), fmt.Sprintf("172.16.%d.0/24", i))
		}
		return c
	}
	forwarding := func(c host.Want, networks ...string) host.Want {
		c.Firewall.Clamp = true
		c.Firewall.Tracked = &firewall.Tracked{Network: netip.MustParsePrefix("10.1.1.0/24"),
			Behind: []netip.Prefix{netip.MustParsePrefix("172.16.9.0/24")}}
		for _, n := range networks {
			c.Firewall.Networks = append(c.Firewall.Networks, netip.MustParsePrefix(n))
		}
		c.Sysctls = []sysctl.Setting{{Name: sysctl.Forwarding, Dev: "tun0"},
			{Name: sysctl.Forwarding, Dev: "eth0"}}
		return c
	}
	masqueraded := func(c host.Want, network string) host.Want {
		c.Firewall = firewall.Rules{Clamp: true, Public: network == "0.0.0.0/0",
			Masquerade: []netip.Prefix{netip.MustParsePrefix(network)},
			Tracked:    &firewall.Tracked{Network: netip.MustParsePrefix("10.1.1.0/24")}}
		return c
	}
	manyNetworks := func() (all []string) {
		for i := range 1024 {
			all = append(all, fmt.Sprintf("172.%d.%d.0/24", 16+i/256, i%256))
		}
		return all
	}
	for name, test := range map[string]struct {
		command string
		want    host.Want
		allowed bool
	}{
		"a server, networks behind clients": {"serve",
			with(hub, "10.1.1.2", "192.168.7.0/24", "172.16.0.0/12"), true},
		"a server, by another gateway": {"serve",
			with(hub, "10.1.1.4", "192.168.7.0/24"), false},
		"a server, a public network": {"serve",
			with(hub, "10.1.1.2", "8.8.8.0/24"), false},
		"a server, its own network": {"serve",
			with(hub, "10.1.1.2", "10.1.1.128/25"), false},
		"a server, all about its network": {"serve",
			with(hub, "10.1.1.2", "10.0.0.0/8"), false},
		"a server, everything": {"serve",
			with(hub, "10.1.1.2", "0.0.0.0/0"), false},
		"a client, pushed networks": {"connect", many(spoke, 200), true},
		"a client, by another gateway": {"connect",
			with(spoke, "10.1.1.2", "192.168.7.0/24"), false},
		"a client, a public network": {"connect",
			with(spoke, "10.1.1.4", "8.8.8.0/24"), false},
		"a client, everything": {"connect",
			with(spoke, "10.1.1.4", "0.0.0.0/0"), false},
		"a client, half of everything": {"connect",
			with(spoke, "10.1.1.4", "128.0.0.0/1"), false},
		"a client, host bits": {"connect",
			with(spoke, "10.1.1.4", "192.168.7.1/24"), false},
		"a client that takes none": {"connect --no-routes",
			with(spoke, "10.1.1.4", "192.168.7.0/24"), false},
		"a client that takes none, none": {"connect --no-routes", spoke, true},
		"a client, excluded": {"connect --exclude 192.168.7.9",
			with(spoke, "10.1.1.4", "192.168.7.0/24"), false},
		"a client, accepted": {"connect --accept 8.8.0.0/16",
			with(spoke, "10.1.1.4", "8.8.8.0/24"), true},
		"a client, all accepted": {"connect --accept all",
			with(spoke, "10.1.1.4", "8.8.8.0/24"), true},
		"a client, all accepted, too much": {"connect --accept all",
			with(spoke, "10.1.1.4", "0.0.0.0/0"), false},
		"a server's own":       {"serve", hub, true},
		"a server, other pair": {"serve", spoke, false},
		"a server, other device": {"serve", change(hub, func(c *host.Want) { c.Dev = "tun1" }),
			false},
		"a server, other size": {"serve", change(hub, func(c *host.Want) { c.MTU = 1500 }),
			false},
		"a client's": {"connect", spoke, true},
		"a client, other size": {"connect", change(spoke, func(c *host.Want) {
			c.MTU,
				c.Qlen = 9000, 500
		}), true},
		"a client, other device": {"connect",
			change(spoke, func(c *host.Want) { c.Dev = "eth0" }), false},
		"too large a packet": {"connect",
			change(spoke, func(c *host.Want) { c.MTU = 65536 }), false},
		"no queue": {"connect", change(spoke, func(c *host.Want) { c.Qlen = 0 }),
			false},
		"public":             {"connect", pair("8.8.8.1", "8.8.8.2", "8.8.8.0/24"), false},
		"everything":         {"connect", pair("10.1.1.3", "10.1.1.4", "0.0.0.0/0"), false},
		"more than RFC 1918": {"connect", pair("10.1.1.3", "10.1.1.4", "10.0.0.0/7"), false},
		"pair outside":       {"connect", pair("10.2.1.3", "10.1.1.4", "10.1.1.0/24"), false},
		"one address":        {"connect", pair("10.1.1.3", "10.1.1.3", "10.1.1.0/24"), false},
		"nothing":            {"connect", host.Want{}, false},
		"a server, a firewall": {"serve", change(hub, func(c *host.Want) { c.Firewall.Clamp = true }),
			false},
		"a server, its masquerade at the start": {"serve --masquerade",
			masqueraded(hub, "0.0.0.0/0"), true},
		"a server, and a private network": {"serve --masquerade",
			forwarding(masqueraded(hub, "0.0.0.0/0"), "192.168.7.0/24"), true},
		"a server, no masquerade after all": {"serve --masquerade", hub, false},
		"a server, masquerade without the flag": {"serve --push-route 192.168.7.0/24",
			forwarding(masqueraded(hub, "0.0.0.0/0"), "192.168.7.0/24"), false},
		"a server, more masquerade": {"serve --masquerade --masquerade-only 192.168.7.0/24",
			masqueraded(hub, "0.0.0.0/0"), false},
		"a server, a pushed network": {"serve", forwarding(hub, "192.168.7.0/24"), true},
		"a server, 1024 networks":    {"serve", forwarding(hub, manyNetworks()...), true},
		"a server, all about its network, forwarded": {"serve",
			forwarding(hub, "10.0.0.0/8"), false},
		"a server, to its own network": {"serve",
			forwarding(hub, "10.1.1.0/25"), false},
		"a server, to a public network": {"serve", forwarding(hub, "8.8.8.0/24"), false},
		"a server, to a public network of a flag": {"serve --push-route 8.8.0.0/16",
			forwarding(hub, "8.8.8.0/24"), true},
		"a server, public": {"serve", change(forwarding(hub, "192.168.7.0/24"),
			func(c *host.Want) { c.Firewall.Public = true }), false},
		"a server, no limit": {"serve", change(forwarding(hub, "192.168.7.0/24"),
			func(c *host.Want) { c.Firewall.Tracked = nil }), false},
		"a server, another limit": {"serve", change(forwarding(hub, "192.168.7.0/24"),
			func(c *host.Want) {
				c.Firewall.Tracked.Network = netip.MustParsePrefix("10.9.0.0/24")
			}), false},
		"a server, a map": {"serve", change(forwarding(hub, "192.168.7.0/24"),
			func(c *host.Want) {
				c.Firewall.Maps = []firewall.Map{{Here: netip.MustParsePrefix("192.168.8.0/24"),
					There: netip.MustParsePrefix("192.168.9.0/24")}}
			}), false},
		"a server, a kill switch": {"serve", change(forwarding(hub, "192.168.7.0/24"),
			func(c *host.Want) { c.Firewall.KillSwitch = &firewall.KillSwitch{Mark: 1} }), false},
		"a server, another parameter": {"serve", change(forwarding(hub, "192.168.7.0/24"),
			func(c *host.Want) { c.Sysctls[0].Name = sysctl.SrcValidMark }), false},
		"a server, forwarding without a firewall": {"serve", change(forwarding(hub, "192.168.7.0/24"),
			func(c *host.Want) { c.Firewall = firewall.Rules{} }), false},
		"a client, a firewall": {"connect", change(spoke, func(c *host.Want) {
			c.Firewall.Clamp = true
		}), false},
		"a client, forwarding": {"connect", change(spoke, func(c *host.Want) {
			c.Sysctls = []sysctl.Setting{{Name: sysctl.Forwarding, Dev: "eth0"}}
		}), false},
		"DNS of all names": {"connect", named(spoke, "10.1.1.1", true), false},
		"DNS of all names, accepted": {"connect --accept-dns", named(spoke, "10.1.1.1", true),
			true},
		"DNS of some names": {"connect", named(spoke, "10.1.1.1", false, "corp.example"), true},
		"DNS of some names, all accepted": {"connect --accept-dns",
			named(spoke, "10.1.1.1", false, "corp.example"), false},
		"DNS of a suffix": {"connect", named(spoke, "10.1.1.1", false, "com"), false},
		"DNS outside": {"connect --accept-dns", named(spoke, "192.168.7.53", true),
			false},
		"DNS on the internet": {"connect --accept-dns", named(spoke, "9.9.9.9", true), false},
		"DNS on the internet, all traffic": {alone, named(fullWith(spoke, alone), "9.9.9.9", true),
			true},
		"DNS elsewhere, all traffic": {alone, named(fullWith(spoke, alone), "192.168.7.53", true),
			false},
		"DNS in a pushed network": {"connect --accept-dns",
			named(with(spoke, "10.1.1.4", "192.168.7.0/24"), "192.168.7.53", true), true},
		"a site's": {site, atSite(spoke, site), true},
		"a site's, without its table": {site, change(atSite(spoke, site), func(c *host.Want) {
			c.Firewall = firewall.Rules{}
		}), false},
		"all traffic":                   {alone, fullWith(spoke, alone), true},
		"all traffic and a kill switch": {both, fullWith(spoke, both), true},
		"a kill switch, before it is connected": {both, change(fullWith(host.Want{Dev: "tun0",
			MTU: 1400, Qlen: 100}, both), func(c *host.Want) { c.Full = host.Full{} }), true},
		"all traffic, before it is connected": {both, fullWith(host.Want{Dev: "tun0", MTU: 1400,
			Qlen: 100}, both), false},
		"all traffic that no flag asks for":  {"connect", fullWith(spoke, both), false},
		"a kill switch, other flags":         {"connect --kill-switch", fullWith(spoke, both), false},
		"without the kill switch":            {both, spoke, false},
		"all traffic, without a kill switch": {both, fullWith(spoke, alone), false},
		"another mark": {both, change(fullWith(spoke, both), func(c *host.Want) {
			k := *c.Firewall.KillSwitch
			k.Mark = 1
			c.Firewall.KillSwitch = &k
		}), false},
		"answers outside": {both, change(fullWith(spoke, both),
			func(c *host.Want) { c.Full.Answer = true }), false},
		"the LAN with --no-lan": {both + " --no-lan", fullWith(spoke, both), false},
		"rules of its own": {both, change(fullWith(spoke, both), func(c *host.Want) {
			c.Firewall.Outside = &firewall.Outside{Mark: 1}
		}), false},
		"connections of its own": {both, change(fullWith(spoke, both), func(c *host.Want) {
			c.Firewall.Older.TCP = []uint16{22}
		}), false},
		"another site's":        {site, atSite(spoke, "connect --advertise 192.168.2.0/24"), false},
		"a site's, masqueraded": {site, atSite(spoke, site+" --masquerade"), false},
		"a site's, other forwarding": {site, change(atSite(spoke, site), func(c *host.Want) {
			c.Sysctls = []sysctl.Setting{{Name: sysctl.SrcValidMark, Dev: "tun0"}}
		}), false},
		"a server, DNS": {"serve", named(hub, "10.1.1.1", false, "corp.example"), false},
	} {
		d := &direct{current: invocation.NewCurrent(invocationOf(t, strings.Fields(test.command)...))}
		if err := d.Allow(test.want); (err == nil) != test.allowed {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := &direct{current: invocation.NewCurrent(invocationOf(t, "connect", "--token-file",
		"/dev/null"))}
	for _, flag := range []string{"state", "tls-key", "on-up", "", "/etc/shadow"} {
		if f, err := d.Open(flag, false); err == nil {
			_ = f.Close()
			t.Errorf("opened %q", flag)
		}
	}
	if f, err := d.Open(invocation.FlagTokenFile, false); err != nil {
		t.Error(err)
	} else {
		_ = f.Close()
	}
	if err := d.RunHook(t.Context(), "state", spoke, nil); err == nil {
		t.Error("ran what is not a hook")
	}
}

// TestEnded is what a parent says of its worker's end, and of what it could not undo then.
func TestEnded(t *testing.T) {
	killed := errors.New("the worker was killed")
	left := failure.New(failure.StepRoute, errors.New("undo route 10.1.1.0/24: refused"), "")
	const leftLine = "tunnel: route: undo route 10.1.1.0/24: refused\n"
	for name, test := range map[string]struct {
		code      int
		err, left error
		want      int
		says      string
	}{
		"well":                 {0, nil, nil, 0, ""},
		"well, and left":       {0, nil, left, 11, leftLine},
		"said by itself":       {8, nil, nil, 8, ""},
		"said by itself, left": {8, nil, left, 8, leftLine},
		"killed":               {1, killed, nil, 1, "tunnel: internal: the worker was killed\n"},
		"killed, and left a way": {1, killed, left, 1,
			"tunnel: internal: the worker was killed; and then: route: undo route 10.1.1.0/24: " +
				"refused: run `tunnel cleanup`\n"},
	} {
		var out strings.Builder
		if code := failure.Report(&out, ended(test.code, test.err, test.left)); code != test.want ||
			out.String() != test.says {
			t.Errorf("%s: exit code %d, %q", name, code, &out)
		}
	}
}
