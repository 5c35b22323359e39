package contender

import (
	"context"

	"tunnel/bench/scope"
)

// bare is the link itself, without a tunnel.
type bare struct{}

func (bare) Name() string { return NameNone }

func (bare) Prepare(ctx context.Context, shop *Workshop) (string, error) {
	return "", shop.need(ctx, "ip:iproute2", "ping:iputils-ping", "iperf3:iperf3")
}

func (bare) Start(t *scope.Scope, _ *Workshop, p Pair) Ends {
	AwaitPing(t, p.Client, ServerAddr)
	return Ends{Server: ServerAddr, client: clientAddr}
}
