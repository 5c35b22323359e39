package contender

import (
	"tunnel/bench/scope"
	"tunnel/e2e/lab"
	"tunnel/e2e/wan"
)

// Addresses of the two hosts on their link.
const (
	ServerAddr = "198.51.100.1"
	clientAddr = "198.51.100.2"
	ClientMask = "/24"
)

// Pair is two hosts with a link.
type Pair struct {
	Server, Client *lab.Host
	ServerDev      string // the server's device of the link
}

// NewLAN connects two hosts by a veth pair.
func NewLAN(t *scope.Scope) Pair {
	l := lab.New(t)
	p := Pair{Server: t.Host(l, "server"), Client: t.Host(l, "client")}
	p.ServerDev, _ = l.Link(p.Server, ServerAddr+ClientMask, p.Client, clientAddr+ClientMask)
	return p
}

// NewWAN connects two hosts by an emulated link, the same in both directions.
func NewWAN(t *scope.Scope, link wan.Link) Pair { return newWAN(t, link, wan.Connect) }

// NewFastWAN is NewWAN with devices that have offloads, without which the emulator itself would be
// the limit.
func NewFastWAN(t *scope.Scope, link wan.Link) Pair { return newWAN(t, link, wan.ConnectOffloaded) }

func newWAN(t *scope.Scope, link wan.Link, connect func(t lab.TB, a, b *lab.Host, aCIDR,
	bCIDR string, up, down wan.Link) *wan.Emulator) Pair {
	l := lab.New(t)
	p := Pair{Server: t.Host(l, "server"), Client: t.Host(l, "client")}
	e := connect(t, p.Client, p.Server, clientAddr+ClientMask, ServerAddr+ClientMask, link, link)
	_, p.ServerDev = e.Devices()
	return p
}
