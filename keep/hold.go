package keep

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"tunnel/dns"
	"tunnel/host"
)

// hold is apply while it is not known what this machine has elsewhere, for example because
// /etc/resolv.conf cannot be read. The error is unknown. What is there stays as it is and is
// renewed, so that a full tunnel goes on to refuse what would leave outside it; routes that were
// left out stay so. A Want that is not there yet is not made. The caller holds mu.
func (k *Keeper) hold(ctx context.Context, w host.Want, more []host.Route, names dns.Config,
	unknown error) error {
	if !w.Equal(k.want) {
		return unknown
	}
	unknown = fmt.Errorf("the tunnel stays as it is, because it is not known what this machine has "+
		"elsewhere: %w", unknown)
	if k.withdrawn != nil {
		return errors.Join(unknown, k.withdrawAgain(ctx))
	}
	more = slices.DeleteFunc(slices.Clone(more), func(r host.Route) bool {
		return !slices.ContainsFunc(k.led, func(p netip.Prefix) bool { return p == r.Prefix.Masked() })
	})
	k.leads(host.Want{Routes: more}.Networks())
	return errors.Join(unknown, k.applyAll(ctx, with(w, more), names))
}

// withdrawAgain renews what stays of a full tunnel or a kill switch while the Want is withdrawn.
// The caller holds mu.
func (k *Keeper) withdrawAgain(ctx context.Context) error {
	if !k.want.Full.On && k.want.Firewall.KillSwitch == nil {
		return nil
	}
	return k.router.Withdraw(ctx)
}
