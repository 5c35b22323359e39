package keep

import (
	"context"
	"net/netip"
	"slices"

	"tunnel/host"
	"tunnel/route"
)

// excepts has ExceptSet called if other public networks than before stay outside a full tunnel. The
// caller holds mu.
func (k *Keeper) excepts(ctx context.Context, w host.Want) {
	if k.ExceptSet == nil {
		return
	}
	var networks []netip.Prefix
	if w.Full.On && !w.Full.NoLAN {
		var err error
		networks, err = route.View{Look: k.Look, Own: k.device}.Public()
		if err != nil {
			k.log.DebugContext(ctx, "public networks outside the tunnel not found", "err", err)
			return
		}
	}
	if !slices.Equal(networks, k.excepted) {
		k.excepted = networks
		k.ExceptSet(networks)
	}
}
