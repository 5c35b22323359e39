package route

import (
	"context"

	"tunnel/cmdrun"
	"tunnel/ipcmd"
)

// clear takes from the tunnel's own device what stands in the place of e, an address or a route, which the kernel would
// therefore refuse to add: e as something else on this machine has changed it ("ip route change"), or its like. A route with
// a metric of its own is in nobody's way. The caller holds mu.
func (r *Router) clear(ctx context.Context, e entry) error {
	if r.look == nil || r.dry || r.link.index == 0 {
		return nil
	}
	var foreign []cmdrun.Command
	if e.Kind == kindAddr {
		addrs, err := r.look.Addrs(r.link.index)
		if err != nil {
			return err
		}
		for i, a := range addrs {
			if a.Local == e.Local && !e.hasAddr(addrs[i:i+1]) {
				foreign = append(foreign, ipcmd.ForeignAddrDel(e.Dev, a.Local, a.Peer, a.PrefixLen))
			}
		}
	} else {
		routes, err := routesTo(r.look, e.Prefix, r.link.index)
		if err != nil {
			return err
		}
		for _, found := range routes {
			if found.Metric == 0 && !e.is(found, r.link.index) {
				foreign = append(foreign, ipcmd.ForeignRouteDel(e.Prefix, e.Dev))
			}
		}
	}
	for _, command := range foreign {
		if _, err := r.run.Run(ctx, command); err != nil { // it may be gone meanwhile; else the kernel refuses e
			r.log.DebugContext(ctx, "what is in the way stays there", "dev", e.Dev, "err", err)
		}
	}
	return nil
}
