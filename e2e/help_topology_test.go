package e2e

import (
	"fmt"
	"os"
	"testing"

	"tunnel/e2e/lab"
)

// The addresses of the server in the two topologies with one client.
const (
	directServer = "198.51.100.1"
	directURL    = "ws://198.51.100.1:8443"
	routedServer = "203.0.113.1"
	routedURL    = "ws://203.0.113.1:8443"
)

// direct returns a server and a client on one link, 198.51.100.1 and .2.
func direct(t *testing.T) (server, client *lab.Host) {
	t.Helper()
	l := lab.New(t)
	server, client = l.Host("server"), l.Host("client")
	l.Link(server, "198.51.100.1/24", client, "198.51.100.2/24")
	noJournals(t, server, client)
	return server, client
}

// routed returns a client, 10.77.0.2, whose default route leads to a router, 10.77.0.1, and a
// server, 203.0.113.1, behind the router.
func routed(t *testing.T) (server, client, router *lab.Host) {
	t.Helper()
	l := lab.New(t)
	server, client, router = l.Host("server"), l.Host("client"), l.Host("router")
	l.Link(server, "203.0.113.1/24", router, "203.0.113.254/24")
	l.Link(client, "10.77.0.2/24", router, "10.77.0.1/24")
	router.Sysctl("net.ipv4.ip_forward", "1")
	server.Run("ip", "route", "add", "default", "via", "203.0.113.254")
	client.Run("ip", "route", "add", "default", "via", "10.77.0.1")
	noJournals(t, server, client)
	return server, client, router
}

// star returns a server, 198.51.100.1, and n clients, from 198.51.100.2, on one switch; n is less
// than 250.
func star(t *testing.T, n int) (server *lab.Host, clients []*lab.Host) {
	t.Helper()
	server, clients, _ = switched(t, n)
	return server, clients
}

// switched is star that also returns the switch. Its ports are eth0 for the server and eth1, eth2,
// … for the clients.
func switched(t *testing.T, n int) (server *lab.Host, clients []*lab.Host, sw *lab.Host) {
	t.Helper()
	l := lab.New(t)
	sw = l.Switch("switch")
	server = l.Host("server")
	l.Attach(server, "198.51.100.1/24", sw)
	for i := range n {
		c := l.Host(fmt.Sprintf("c%d", i+1))
		l.Attach(c, fmt.Sprintf("198.51.100.%d/24", i+2), sw)
		clients = append(clients, c)
	}
	noJournals(t, append([]*lab.Host{server}, clients...)...)
	return server, clients, sw
}

// noJournals fails the test if a journal of a host is left at its end, after all programs have
// ended. After a failure it removes them, since nothing else would once the namespace is gone.
func noJournals(t *testing.T, hosts ...*lab.Host) {
	t.Helper()
	t.Cleanup(func() {
		for _, h := range hosts {
			for _, file := range journals(t, h) {
				if !t.Failed() {
					t.Errorf("journal %s of %s is left", file, h.Name())
				}
				if err := os.Remove(file); err != nil {
					t.Error(err)
				}
			}
		}
	})
}
