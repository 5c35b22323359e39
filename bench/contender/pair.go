package contender

import (
	"tunnel/bench/scope"
	"tunnel/e2e/lab"
	"tunnel/e2e/wan"
)

// Addresses of the two hosts on the line between them.
const (
	ServerAddr = "198.51.100.1"
	clientAddr = "198.51.100.2"
	ClientMask = "/24"
)

// Pair is two hosts that reach each other.
type Pair struct {
	Server, Client *lab.Host
	ServerDev      string // the server's device on the line
}

// NewLAN joins two hosts by a veth pair.
func NewLAN(t *scope.Scope) Pair {
	l := lab.New(t)
	p := Pair{Server: t.Host(l, "server"), Client: t.Host(l, "client")}
	p.ServerDev, _ = l.Link(p.Server, ServerAddr+ClientMask, p.Client, clientAddr+ClientMask)
	return p
}

// NewWAN joins two hosts by a long path, the same in both directions.
func NewWAN(t *scope.Scope, link wan.Link) Pair {
	l := lab.New(t)
	p := Pair{Server: t.Host(l, "server"), Client: t.Host(l, "client")}
	e := wan.Connect(t, p.Client, p.Server, clientAddr+ClientMask, ServerAddr+ClientMask, link,
		link)
	_, p.ServerDev = e.Devices()
	return p
}
