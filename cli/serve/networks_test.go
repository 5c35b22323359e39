package serve

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"tunnel/cli/machine"
	"tunnel/config"
	"tunnel/keep"
	"tunnel/route"
	"tunnel/server/networks"
)

// counted counts what is asked of a machine.
type counted struct {
	hops

	asked int
}

func (c *counted) NextHop(ctx context.Context, a netip.AddrPort) (route.NextHop, error) {
	c.asked++
	return c.hops.NextHop(ctx, a)
}

// The paths to networks behind the machine are looked up when these change, and not when what is
// behind a client does. A line has all public networks.
func TestPathsAreNotLookedUpForClients(t *testing.T) {
	told := config.DefaultServe()
	told.Dev = "tun0"
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	asked := &counted{}
	m := &machineNetworks{device: &heldDevice{keeper: keep.New(nil, 0, log), log: log}, hops: asked,
		told: told, want: machine.ServeWant(told), log: log}
	all := func(texts ...string) (all []netip.Prefix) {
		for _, s := range texts {
			all = append(all, netip.MustParsePrefix(s))
		}
		return all
	}
	pushed := all("192.168.7.0/24", "192.168.8.0/24")
	for i, test := range []struct {
		set  networks.Machine
		asks int
	}{
		{networks.Machine{Pushed: pushed}, 2},
		{networks.Machine{Pushed: pushed, Behind: all("10.50.0.0/16")}, 0},
		{networks.Machine{Pushed: pushed, Behind: all("203.0.113.0/24", "198.51.100.0/24")}, 0},
		{networks.Machine{Pushed: pushed[:1]}, 1},
		{networks.Machine{}, 0},
	} {
		before := asked.asked
		m.set(t.Context(), test.set)
		if n := asked.asked - before; n != test.asks {
			t.Errorf("change %d: %d paths looked up; want %d", i, n, test.asks)
		}
	}
	if n := strings.Count(text.String(), "not routed from this machine"); n != 1 {
		t.Errorf("%d lines:\n%s", n, text.String())
	}
}
