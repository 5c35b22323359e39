package main

import (
	"context"
	_ "embed"
	"os"
)

//go:embed limit/limit.c
var limitSource []byte

// limit is the bare program that copies a TUN device to a TCP connection and back: see limit/limit.c.
type limit struct{ program string }

func (*limit) name() string { return nameLimit }

func (c *limit) prepare(ctx context.Context, shop *workshop) (string, error) {
	if err := shop.need(ctx, "gcc:gcc", "/usr/include/stdlib.h:libc6-dev"); err != nil {
		return "", err
	}
	source := shop.file("limit.c")
	if err := os.WriteFile(source, limitSource, 0o644); err != nil {
		return "", err
	}
	c.program = shop.file("limit")
	return "C, gcc -O2", shop.command(ctx, "gcc", "-O2", "-pthread", "-o", c.program, source)
}

func (c *limit) start(t *scope, _ *workshop, p pair) ends {
	const dev, port, server, client = "limit0", "7000", "10.1.1.1", "10.1.1.2"
	s := p.server.Start(c.program, "listen", serverAddr, port, dev)
	s.WaitFor("listening", soon)
	p.client.Start(c.program, "connect", serverAddr, port, dev).WaitFor("ready", soon)
	s.WaitFor("ready", soon)
	address(p.server, dev, server, client, "1400")
	address(p.client, dev, client, server, "1400")
	awaitPing(t, p.client, server)
	return ends{server: server, client: client}
}
