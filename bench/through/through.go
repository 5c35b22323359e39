// Package through measures what goes through the hub: streams to a host behind it and to another
// client, and what it costs that each packet is judged.
package through

import (
	"context"
	"fmt"
	"slices"

	"tunnel/bench/contender"
	"tunnel/bench/gauge"
	"tunnel/bench/report"
	"tunnel/bench/scope"
	"tunnel/e2e/lab"
)

// The network behind the hub.
const (
	behindNetwork = "192.168.7.0/24"
	behindHub     = "192.168.7.1"
	behindHost    = "192.168.7.9"
)

// A star is a hub, its clients, and a host behind it.
type star struct {
	hub, behind *lab.Host
	clients     []*lab.Host
	addrs       []string // of the clients, in the tunnel
}

// newStar starts a hub with flags and n clients. The hub does not forward packets by itself.
func newStar(s *scope.Scope, shop *contender.Workshop, c *contender.Tunnel, n int,
	flags ...string) star {
	l := lab.New(s)
	sw := l.Switch("switch")
	x := star{hub: s.Host(l, "hub"), behind: s.Host(l, "behind")}
	l.Attach(x.hub, contender.ServerAddr+contender.ClientMask, sw)
	l.Link(x.hub, behindHub+"/24", x.behind, behindHost+"/24")
	x.behind.Run("ip", "route", "add", "default", "via", behindHub)
	x.hub.Sysctl("net.ipv4.ip_forward", "0")
	c.Serve(s, shop, x.hub, shop.Temp(s), flags...)
	for i := range n {
		h := s.Host(l, fmt.Sprintf("client%d", i))
		l.Attach(h, fmt.Sprintf("198.51.100.%d%s", 11+i, contender.ClientMask), sw)
		_, addr := c.Connect(s, shop, h)
		contender.AwaitPing(s, h, contender.TunnelServer)
		x.clients, x.addrs = append(x.clients, h), append(x.addrs, addr)
	}
	return x
}

// forwardPlainly has the kernel forward what the client sends to the hub's own address in the
// tunnel to the host behind it, with no rule of the program: the program takes these packets for
// the hub's own.
func (x star) forwardPlainly() {
	for _, args := range [][]string{
		{"rule", "add", "pref", "2", "lookup", "local"},
		{"rule", "add", "pref", "1", "iif", "tun0", "to", contender.TunnelServer, "lookup", "100"},
		// Not the route of an address of the tunnel, which would be another network's.
		{"route", "add", "default", "via", behindHost, "table", "100"},
		{"rule", "del", "pref", "0"},
	} {
		x.hub.Run(append([]string{"ip"}, args...)...)
	}
	x.behind.Run("ip", "addr", "add", contender.TunnelServer+"/32", "dev", "lo")
	x.hub.Sysctl("net.ipv4.conf.all.accept_local", "1") // it answers with the hub's address
	x.hub.Sysctl("net.ipv4.ip_forward", "1")
}

// Streams measures one stream to the hub, to a host behind it, to such a host by plain forwarding,
// and to another client, each of some seconds. The figures are by their ids.
func Streams(s *scope.Scope, shop *contender.Workshop, c *contender.Tunnel, seconds int,
	say func(string, ...any)) map[string]float64 {
	x := newStar(s, shop, c, 2, "--client-to-client", "--push-route", behindNetwork)
	plain := newStar(s, shop, c, 1)
	plain.forwardPlainly()
	stream := func(from, to *lab.Host, addr string) func() float64 {
		contender.AwaitPing(s, from, addr)
		return func() float64 { return gauge.RunStream(s, from, to, addr, seconds).Rate }
	}
	rates := around(
		stream(x.clients[0], x.hub, contender.TunnelServer),
		stream(x.clients[0], x.behind, behindHost),
		stream(plain.clients[0], plain.behind, contender.TunnelServer),
		stream(x.clients[0], x.clients[1], x.addrs[1]))
	say("%s: %s Gbit/s to the hub, %s to a host behind it, %s there by plain forwarding, %s to "+
		"another client", c.Name(), report.Short(rates[0]/1e9), report.Short(rates[1]/1e9),
		report.Short(rates[2]/1e9), report.Short(rates[3]/1e9))
	return map[string]float64{figLAN: rates[1] / rates[0], figPlain: rates[1] / rates[2],
		figClient: rates[3] / rates[0]}
}

// Check measures what it costs a stream and a flood, each of some seconds, that each packet is
// judged, at both ends. It adds the figures to values, by their ids.
func Check(s *scope.Scope, shop *contender.Workshop, c *contender.Tunnel, seconds int,
	values map[string]float64) {
	unchecked, err := c.Unchecked(context.Background(), shop)
	s.Must(err)
	var streams, floods []func() float64
	for _, build := range []*contender.Tunnel{unchecked, c} {
		p := contender.NewLAN(s)
		e := build.Start(s, shop, p)
		streams = append(streams, func() float64 {
			return gauge.RunStream(s, p.Client, p.Server, e.Server, seconds).Rate
		})
		floods = append(floods, func() float64 {
			return gauge.Flood(s, p.Client, p.Server, e.Server, seconds, "")
		})
	}
	stream, flood := around(streams...), around(floods...)
	values[figCheckStream], values[figCheckFlood] = stream[1]/stream[0], flood[1]/flood[0]
}

// turns is how often around calls each of its functions.
const turns = 6

// around calls each of measures several times in turns, every second time backwards, so that a
// drift over time affects all equally. It returns the mean of each.
func around(measures ...func() float64) (means []float64) {
	order := make([]int, len(measures))
	for i := range order {
		order[i] = i
	}
	values := make([][]float64, len(measures))
	for range turns {
		for _, i := range order {
			values[i] = append(values[i], measures[i]())
		}
		slices.Reverse(order)
	}
	for _, v := range values {
		means = append(means, report.Mean(v))
	}
	return means
}
