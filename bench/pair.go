package main

import (
	"tunnel/e2e/lab"
	"tunnel/e2e/wan"
)

// Addresses of the two hosts on the line between them.
const (
	serverAddr = "198.51.100.1"
	clientAddr = "198.51.100.2"
	clientMask = "/24"
)

// pair is two hosts that reach each other.
type pair struct {
	server, client *lab.Host
	serverDev      string // the server's device on the line
}

// newLAN joins two hosts by a veth pair.
func newLAN(t *scope) pair {
	l := lab.New(t)
	p := pair{server: t.host(l, "server"), client: t.host(l, "client")}
	p.serverDev, _ = l.Link(p.server, serverAddr+clientMask, p.client, clientAddr+clientMask)
	return p
}

// newWAN joins two hosts by a long line, the same in both directions.
func newWAN(t *scope, link wan.Link) pair {
	l := lab.New(t)
	p := pair{server: t.host(l, "server"), client: t.host(l, "client")}
	e := wan.Connect(t, p.client, p.server, clientAddr+clientMask, serverAddr+clientMask, link, link)
	_, p.serverDev = e.Devices()
	return p
}
