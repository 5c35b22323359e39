package serve

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"tunnel/firewall"
	"tunnel/host"
	"tunnel/keep"
	"tunnel/route"
	"tunnel/sysctl"
)

// router counts what is applied.
type router struct {
	applied int
	err     error // of Apply
}

func (*router) Overlap(context.Context, ...netip.Prefix) error { return nil }
func (*router) Withdraw(context.Context) error                 { return nil }

func (r *router) Apply(context.Context, host.Want) error {
	r.applied++
	return r.err
}

// A server looks at its firewall again and again, of whose changes no event tells, and at a device
// without one only when something has changed.
func TestLooksAtFirewall(t *testing.T) {
	for name, test := range map[string]struct {
		rules    firewall.Rules
		sysctls  []sysctl.Setting
		expected int // within a minute
	}{
		"nothing is forwarded": {},
		"rules":                {firewall.Rules{Clamp: true}, nil, 6},
		"guards": {firewall.Rules{},
			[]sysctl.Setting{{Name: sysctl.Forwarding, Dev: "eth0"}}, 6},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &router{}
				log := slog.New(slog.DiscardHandler)
				device := &heldDevice{keeper: keep.New(r, 7, log), log: log}
				want := host.Pair("tun0", 1400, 100, netip.MustParseAddr("10.1.1.1"),
					netip.MustParseAddr("10.1.1.2"), netip.MustParsePrefix("10.1.1.0/24"))
				if err := device.keeper.Set(t.Context(), want); err != nil {
					t.Fatal(err)
				}
				if err := device.forward(t.Context(), test.rules, test.sysctls); err != nil {
					t.Fatal(err)
				}
				r.applied = 0
				err := device.run(t.Context(), nil, func(context.Context) error {
					time.Sleep(time.Minute + time.Second)
					return nil
				})
				if err != nil || r.applied != test.expected {
					t.Errorf("looked %d times, want %d: %v", r.applied, test.expected, err)
				}
			})
		})
	}
}

// Clients cannot be reached while the device's route is not used, or gives way to another network.
func TestReachable(t *testing.T) {
	r := &router{}
	log := slog.New(slog.DiscardHandler)
	device := &heldDevice{keeper: keep.New(r, 7, log), log: log}
	want := host.Pair("tun0", 1400, 100, netip.MustParseAddr("10.1.1.1"),
		netip.MustParseAddr("10.1.1.2"), netip.MustParsePrefix("10.1.1.0/24"))
	if err := device.keeper.Set(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{nil, route.ErrNotUsed, nil, route.ErrOverlap, nil} {
		r.err = err
		device.look(t.Context(), func(err error) { t.Errorf("lost: %v", err) })
		if got := device.reachable(); !errors.Is(got, err) || (got == nil) != (err == nil) {
			t.Errorf("reachable: %v, want %v", got, err)
		}
	}
}
