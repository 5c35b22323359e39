package peers

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/admin/audit"
	"tunnel/auth"
	"tunnel/lease"
	"tunnel/packet"
	"tunnel/tun/tuntest"
)

// One sender's packets, however many, of however many flows, cost no other sender's packets that
// are held for a client. An answer waits in a flow of its own, and of flows only the newest packet
// stays.
func TestHeldForEachSender(t *testing.T) {
	table := NewTable(nil, time.Now)
	join := func(id string, host uint32) (*Peer, string) {
		pair, ok := lease.PairOf(netip.MustParsePrefix("10.1.1.0/24"), host)
		if !ok {
			t.Fatal(host)
		}
		token := auth.Token{ID: id, Kind: auth.KindToken}
		p := table.NewPeer(t.Context(), audit.Entry{}, token, id, &lease.Lease{Pair: pair})
		t.Cleanup(func() { p.End(nil) })
		table.Reserve(p.Holder, 0)
		table.Attach(p)
		return p, pair.Local.String()
	}
	victim, to := join("victim", 1)
	_, attacker := join("attacker", 2)
	_, friend := join("friend", 3)
	address := netip.MustParseAddr(to)
	table.Detach(victim, true)
	sink, _ := table.Lookup(address)
	send := func(from string, port, size int) {
		t.Helper()
		ip := tuntest.SizedPacket(from, to, uint32(port), size)
		ip[9] = unix.IPPROTO_UDP // else it has no ports
		binary.BigEndian.PutUint16(ip[20:], uint16(port))
		var b packet.Batch
		tuntest.Add(&b, ip)
		if !sink.Held.Add(&b, 0) {
			t.Fatal("not held")
		}
	}
	const answers = 50
	for i := range answers {
		send("10.1.1.1", i, 60)
		send(friend, i, 60)
		send(attacker, i, 60)
	}
	for i := range 10000 {
		send(attacker, i, 60)
	}
	for i := range 1000 {
		send(attacker, i, 1300)
	}
	h := sink.Held
	count, bytes := map[string]int{}, int64(0)
	for _, q := range h.queues {
		bytes += q.Held()
		for _, p := range q.TakeFresh(0) { // after a long outage
			count[packet.Source(p.IP()).String()]++
		}
	}
	// Of 50 flows in 1,024 buckets at times two have one.
	if count["10.1.1.1"] < answers*4/5 || count[friend] < answers*4/5 || count[attacker] == 0 {
		t.Errorf("held packets by source: %v", count)
	}
	if bytes > holdLimit {
		t.Errorf("%d bytes are held, more than %d", bytes, holdLimit)
	}
}
