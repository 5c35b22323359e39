package main

import (
	"tunnel/bench/contender"
	"tunnel/bench/scope"
	"tunnel/bench/through"
)

// hub measures what goes through the hub, and without TLS what it costs that packets are judged.
func (b *bench) hub(s *scope.Scope, round int, c *contender.Tunnel) {
	values := through.Streams(s, b.shop, c, b.seconds, b.say)
	if !c.Secure {
		through.Check(s, b.shop, c, b.seconds, values)
	}
	for id, v := range values {
		b.add(round, id, c.Name(), v)
	}
}
