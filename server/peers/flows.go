package peers

import (
	"context"
	"net/netip"
	"time"

	"tunnel/admin/status"
)

// Flows measures the flows through the hub for that time, or until ctx ends, which is an error.
func (t *Table) Flows(ctx context.Context, during time.Duration) (status.Flows, error) {
	flows, err := t.Meter.Measure(ctx, during)
	if err != nil {
		return status.Flows{}, err
	}
	return status.FlowsOf(flows, t.name), nil
}

// name returns the name of the connected client that has a, or behind which a lies; "" if there is
// none, or without tokens.
func (t *Table) name(a netip.Addr) string {
	if to, ok := t.Lookup(a); ok && to.Peer != nil {
		return to.Peer.Token.Name
	}
	return ""
}
