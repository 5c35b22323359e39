package peers

import (
	"net/netip"
	"testing"
	"time"

	"tunnel/admin/audit"
	"tunnel/auth"
	"tunnel/lease"
)

// A token's name that was revoked and made again counts from the start, also while a session of the
// old token has not ended.
func TestUsageOfNameMadeAgain(t *testing.T) {
	table := NewTable(nil, time.Now)
	join := func(id string, host uint32) *Peer {
		pair, ok := lease.PairOf(netip.MustParsePrefix("10.1.1.0/24"), host)
		if !ok {
			t.Fatal(host)
		}
		token := auth.Token{ID: id, Name: "laptop", Kind: auth.KindToken}
		p := table.NewPeer(t.Context(), audit.Entry{}, token, id, &lease.Lease{Pair: pair})
		t.Cleanup(func() { p.End(nil) })
		table.Reserve(p.Holder, 0)
		table.Attach(p)
		return p
	}
	old := join("old", 1)
	old.subflows.past.Received = 1000
	table.mu.Lock()
	table.revoke("old")
	table.mu.Unlock()
	join("new", 2)
	for range 2 { // before and after the old session is retired
		now := table.Status(nil)
		if len(now.Tokens) != 1 || now.Tokens[0].Begun != 1 || now.Tokens[0].Sessions != 1 ||
			now.Tokens[0].Received != 0 || now.Traffic.Received != 1000 {
			t.Errorf("the name is counted as %+v, all as %+v", now.Tokens, now.Traffic)
		}
		table.Detach(old, true)
		table.Retire(old)
	}
}
