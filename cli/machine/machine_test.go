package machine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/config"
	"tunnel/host"
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
	for name, test := range map[string]struct {
		command string
		want    host.Want
		allowed bool
	}{
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
	} {
		d := &direct{i: invocationOf(t, test.command)}
		if err := d.Allow(test.want); (err == nil) != test.allowed {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := &direct{i: invocationOf(t, "connect", "--token-file", "/dev/null")}
	for _, flag := range []string{"state", "tls-key", "on-up", "", "/etc/shadow"} {
		if f, err := d.Open(flag); err == nil {
			_ = f.Close()
			t.Errorf("opened %q", flag)
		}
	}
	if f, err := d.Open(invocation.FlagTokenFile); err != nil {
		t.Error(err)
	} else {
		_ = f.Close()
	}
	if err := d.RunHook(t.Context(), "state", spoke); err == nil {
		t.Error("ran what is not a hook")
	}
	if f, err := d.OpenListener(t.Context()); err == nil {
		_ = f.Close()
		t.Error("a client listens")
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

// TestHookEnvironment is what a hook knows of the program's own variables.
func TestHookEnvironment(t *testing.T) {
	t.Setenv("TUNNEL_TOKEN", "secret-1")
	t.Setenv("TUNNEL_PROXY", "http://me:secret-2@proxy")
	t.Setenv("TUNNEL_STATE", "secret-3")
	t.Setenv("HTTPS_PROXY", "http://me:secret-4@proxy:3128")
	t.Setenv("http_proxy", "me:secret-5@proxy:3128")
	t.Setenv("ALL_PROXY", "socks5://me:se%cret-6@proxy") // not a URL by the rules
	t.Setenv("FTP_PROXY", "http://me:secret-7@proxy")
	t.Setenv("Https_Proxy", "http://me:secret-8@proxy")
	t.Setenv("all_proxy", "socks5://open-proxy:1080")
	t.Setenv("NO_PROXY", "example.com")
	t.Setenv("HOOK_OWN", "kept")
	var log bytes.Buffer
	link := host.Address{Local: netip.MustParseAddr("10.1.1.3"),
		Peer: netip.MustParseAddr("10.1.1.4")}
	const command = `
		test "$HOOK_OWN $TUNNEL_DEV $TUNNEL_ADDRESS $TUNNEL_PEER" = "kept tun0 10.1.1.3 10.1.1.4" &&
		test "$all_proxy $NO_PROXY" = "socks5://open-proxy:1080 example.com" &&
		! env | grep -q 'secret\|cret-6'`
	runHook(context.Background(), "--on-up", command, "tun0", link,
		slog.New(slog.NewTextHandler(&log, nil)))
	if strings.Contains(log.String(), "failed") {
		t.Error(log.String())
	}
}
