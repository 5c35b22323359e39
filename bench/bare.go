package main

import "context"

// bare is no tunnel at all: the line itself.
type bare struct{}

func (bare) name() string { return nameNone }

func (bare) prepare(ctx context.Context, shop *workshop) (string, error) {
	return "", shop.need(ctx, "ip:iproute2", "ping:iputils-ping", "iperf3:iperf3")
}

func (bare) start(t *scope, _ *workshop, p pair) ends {
	awaitPing(t, p.client, serverAddr)
	return ends{server: serverAddr, client: clientAddr}
}
