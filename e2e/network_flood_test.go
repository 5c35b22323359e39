package e2e

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"nhooyr.io/websocket"

	"tunnel/e2e/hostile"
	"tunnel/e2e/lab"
	"tunnel/firewall"
)

// floodWindow is the TCP window by which the segments of opening are recognized.
const floodWindow = 1234

// opening returns an IPv4 packet with a TCP segment that opens a connection.
func opening(from, to string, source, port uint16) []byte {
	const header = 20
	p := make([]byte, 2*header)
	p[0], p[8], p[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	a, b := netip.MustParseAddr(from).As4(), netip.MustParseAddr(to).As4()
	copy(p[12:], a[:])
	copy(p[16:], b[:])
	binary.BigEndian.PutUint16(p[10:], hostile.Checksum(p[:header]))
	tcp := p[header:]
	binary.BigEndian.PutUint16(tcp, source)
	binary.BigEndian.PutUint16(tcp[2:], port)
	tcp[12], tcp[13] = 5<<4, 2
	binary.BigEndian.PutUint16(tcp[14:], floodWindow)
	pseudo := append(append(append([]byte{}, p[12:20]...), 0, 6, 0, header), tcp...)
	binary.BigEndian.PutUint16(tcp[16:], hostile.Checksum(pseudo))
	return p
}

// number reads one of a host's kernel parameters of connection tracking.
func number(t *testing.T, h *lab.Host, name string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(h.Run("cat", "/proc/sys/net/netfilter/"+name)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestConnectionFlood has a client of a hub with --masquerade begin 20,000 connections to a service
// that do not end. The hub tracks a part of them; a new client gets in and reaches the host. When
// the token is revoked they are forgotten.
func TestConnectionFlood(t *testing.T) {
	t.Parallel()
	server, client, _, _, internet := withInternet(t)
	internet.Run("nft", "add table ip quiet; add chain ip quiet in { type filter hook prerouting "+
		"priority -300; }; add rule ip quiet in tcp window "+strconv.Itoa(floodWindow)+" drop")
	bin, state := plainBuild(t), t.TempDir()
	srv := bin.start(t, server, "serve", "--plain", "--state", state, "--masquerade")
	srv.WaitFor("clients may reach networks behind this machine", soon)
	greedy := bin.token(t, server, state, "create", "greedy")
	modest := bin.token(t, server, state, "create", "modest")

	raw := dialRawWith(t, client, "ws://203.0.113.1:8443", greedy)
	raw.connect()
	const connections, together = 20_000, 40
	for first := 0; first < connections; first += together {
		var message []byte
		for i := range together {
			message = append(message,
				opening(raw.address, "198.51.100.9", uint16(1024+first+i), 80)...)
		}
		raw.write(websocket.MessageBinary, message)
	}
	limit := firewall.MaxTracked
	if most := number(t, server, "nf_conntrack_max"); most > 0 {
		limit = min(limit, max(most/32, 1024))
	}
	for end := time.Now().Add(soon); number(t, server, "nf_conntrack_count") < limit &&
		time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	other := dialRawWith(t, client, "ws://203.0.113.1:8443", modest)
	other.connect()
	other.answering([]string{"198.51.100.9"}, []string{"198.51.100.9"})
	if n := number(t, server, "nf_conntrack_count"); n < limit/2 || n > limit+100 {
		t.Errorf("%d connections are tracked, want about %d", n, limit)
	}
	bin.token(t, server, state, "revoke", "greedy")
	var n int
	for end := time.Now().Add(soon); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if n = number(t, server, "nf_conntrack_count"); n < 100 {
			break
		}
	}
	if n >= 100 {
		t.Errorf("%d connections are tracked after the token was revoked", n)
	}
}
