package contender

import (
	"context"
	_ "embed"
	"os"

	"tunnel/bench/scope"
)

//go:embed limit/limit.c
var limitSource []byte

// limit is a program that copies packets between a TUN device and a TCP connection, and does
// nothing else: limit/limit.c.
type limit struct{ program string }

func (*limit) Name() string { return NameLimit }

func (c *limit) Prepare(ctx context.Context, shop *Workshop) (string, error) {
	if err := shop.need(ctx, "gcc:gcc", "/usr/include/stdlib.h:libc6-dev"); err != nil {
		return "", err
	}
	source := shop.File("limit.c")
	if err := os.WriteFile(source, limitSource, 0o644); err != nil {
		return "", err
	}
	c.program = shop.File("limit")
	return "C, gcc -O2", shop.command(ctx, "gcc", "-O2", "-pthread", "-o", c.program, source)
}

func (c *limit) Start(t *scope.Scope, _ *Workshop, p Pair) Ends {
	const dev, port, server, client = "limit0", "7000", "10.1.1.1", "10.1.1.2"
	s := p.Server.Start(c.program, "listen", ServerAddr, port, dev)
	s.WaitFor("listening", scope.Soon)
	p.Client.Start(c.program, "connect", ServerAddr, port, dev).WaitFor("ready", scope.Soon)
	s.WaitFor("ready", scope.Soon)
	address(p.Server, dev, server, client, "1400")
	address(p.Client, dev, client, server, "1400")
	AwaitPing(t, p.Client, server)
	return Ends{Server: server, client: client}
}
