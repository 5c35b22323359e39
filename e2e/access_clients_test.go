package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"nhooyr.io/websocket"

	"tunnel/e2e/lab"
)

// addressOf returns the address of the ith client, from 0, of a server without leases.
func addressOf(i int) string { return fmt.Sprintf("10.1.1.%d", 3+2*i) }

// Without --client-to-client three clients reach the server and not each other, even if the
// server's kernel forwards.
func TestClientsIsolated(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 3)
	bin := raceBuild(t)
	bin.serve(t, server, "--plain")
	for i, c := range clients {
		cl := bin.connect(t, c, directURL)
		wantLines(t, "stdout of connect", cl.Stdout(), fmt.Sprintf(
			"up: dev tun0, address %s peer 10.1.1.%d, network 10.1.1.0/24, mtu 1400", addressOf(i),
			4+2*i))
	}
	for i, c := range clients {
		reaches(t, c, "10.1.1.1")
		reaches(t, server, addressOf(i))
	}
	for _, forward := range []string{"0", "1"} {
		server.Sysctl("net.ipv4.ip_forward", forward)
		for i, c := range clients {
			cannotReach(t, c, addressOf((i+1)%3))
		}
	}

	// Nor anything behind the server: clients may only send to its own address.
	server.Run("ip", "addr", "add", "192.0.2.99/32", "dev", "lo")
	clients[0].Run("ip", "route", "add", "192.0.2.99/32", "dev", "tun0")
	cannotReach(t, clients[0], "192.0.2.99")
	reaches(t, clients[0], "10.1.1.1")
}

// With --client-to-client clients reach each other without the server's kernel.
func TestClientToClient(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 3)
	server.Sysctl("net.ipv4.ip_forward", "0")
	bin := raceBuild(t)
	bin.serve(t, server, "--plain", "--client-to-client")
	for _, c := range clients {
		bin.connect(t, c, directURL)
	}
	for i, c := range clients {
		reaches(t, c, "10.1.1.1")
		for j := range clients {
			if i != j {
				reaches(t, c, addressOf(j))
			}
		}
	}
	sendFile(t, clients[0], clients[1], addressOf(1), 5<<20)
	clients[2].Run("ip", "addr", "add", "10.1.1.5/32", "dev", "tun0") // the second client's
	cannotReach(t, clients[2], "10.1.1.3", "-I", "10.1.1.5")
}

// Packets with a source address that is not the client's reach neither the server's kernel nor
// another client, whether they come from the program or from a hostile client.
func TestSpoofedSource(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	bin := raceBuild(t)
	bin.serve(t, server, "--plain", "--client-to-client")
	for _, c := range clients {
		bin.connect(t, c, directURL)
	}
	raw := dialRaw(t, clients[0], directURL)
	raw.connect()
	seen, seenByOther := echoesSeen(t, server), echoesSeen(t, clients[1])
	reaches(t, clients[0], "10.1.1.1")
	if n := echoesSeen(t, server) - seen; n != 3 {
		t.Fatalf("the server's kernel counts %d echo requests, want 3", n)
	}
	for _, source := range []string{addressOf(1), "192.0.2.7", "10.1.1.4"} {
		clients[0].Run("ip", "addr", "add", source+"/32", "dev", "tun0")
		cannotReach(t, clients[0], "10.1.1.1", "-I", source)
		raw.write(websocket.MessageBinary, echoRequest(t, source, "10.1.1.1", 10))
		raw.write(websocket.MessageBinary, echoRequest(t, source, addressOf(1), 10))
		clients[0].Run("ip", "addr", "del", source+"/32", "dev", "tun0")
	}
	// These packets come after the spoofed ones on the same connections: once they have arrived, so
	// would the spoofed ones.
	raw.write(websocket.MessageBinary, echoRequest(t, raw.address, "10.1.1.1", 10))
	raw.write(websocket.MessageBinary, echoRequest(t, raw.address, addressOf(1), 10))
	reaches(t, clients[0], "10.1.1.1")
	eventually(t, "the honest packets arrive", func() bool {
		return echoesSeen(t, server)-seen >= 3+3+1 && echoesSeen(t, clients[1])-seenByOther >= 1
	})
	if n, other := echoesSeen(t, server)-seen-7, echoesSeen(t, clients[1])-seenByOther-1; n != 0 ||
		other != 0 {
		t.Errorf(
			"echo requests with a foreign source: %d came to the server, %d to the other client", n,
			other)
	}
}

// echoesSeen counts the ICMP echo requests that a host's kernel has received.
func echoesSeen(t *testing.T, h *lab.Host) int {
	t.Helper()
	var names []string
	for line := range strings.Lines(h.Run("cat", "/proc/net/snmp")) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "Icmp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names {
			if name == "InEchos" {
				n, err := strconv.Atoi(fields[i])
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
	}
	t.Fatal("/proc/net/snmp has no InEchos")
	return 0
}
