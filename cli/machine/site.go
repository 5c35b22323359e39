package machine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"tunnel/host"
	"tunnel/route"
	"tunnel/sysctl"
)

// allowSite returns an error unless a client's firewall is that of its flags, and packets are
// forwarded only between its device and interfaces that lead, or have led, to networks that its
// flags offer.
func (d *direct) allowSite(want host.Want) error {
	site := d.now().Connect.Site()
	rules := site.Rules()
	rules.KillSwitch = Traffic(d.now().Connect).Firewall.KillSwitch
	if !want.Firewall.Equal(rules) {
		return errors.New("refused: a firewall that no flag asks for")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	fresh := slices.DeleteFunc(slices.Clone(want.Sysctls),
		func(s sysctl.Setting) bool { return slices.Contains(d.forwards, s) })
	lookup := func(a netip.Addr) (route.NextHop, error) {
		if d.made.host == nil {
			return route.NextHop{}, route.ErrNoRoute
		}
		return d.made.host.NextHop(context.Background(), netip.AddrPortFrom(a, 0))
	}
	if err := site.Check(want.Dev, fresh, lookup); err != nil {
		return fmt.Errorf("refused: %w", err)
	}
	d.forwards = append(d.forwards, fresh...)
	return nil
}
