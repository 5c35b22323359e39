package push

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"tunnel/packet"
	"tunnel/policy"
	"tunnel/transport"
	"tunnel/tun/tuntest"
)

// A session's packets pass from the networks that are routed, whatever is taken, also in a session
// that begins later.
func TestRouted(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	taker := &Taker{Keeper: &keeper{}, Log: slog.New(slog.DiscardHandler)}
	session := func() *policy.Client {
		rules := &policy.Client{Address: addr("10.1.1.3"), Network: prefix("10.1.1.0/24")}
		taker.Begin(rules)
		return rules
	}
	judge := func(rules *policy.Client, want policy.Verdict) {
		t.Helper()
		var b packet.Batch
		tuntest.Add(&b, tuntest.Packet("192.168.7.9", "10.1.1.3", 1))
		if got := rules.FromServer(&b, 0); got != want {
			t.Errorf("%s; want %s", got, want)
		}
	}
	first := session()
	u := transport.Update{Routes: []netip.Prefix{prefix("192.168.7.0/24")}}
	taker.apply(t.Context(), u, addr("10.1.1.4"), first)
	judge(first, policy.Source) // this machine has it elsewhere
	taker.Routed(u.Routes)
	judge(first, policy.Pass)
	second := session()
	judge(second, policy.Pass)
	taker.Routed(nil)
	judge(second, policy.Source)
}

// A server that never stops to change what it pushes has the client run commands once a minute, and
// its last word is taken.
func TestChangesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{}
		var last []netip.Prefix
		taker := &Taker{Keeper: k, Log: slog.New(slog.DiscardHandler),
			Changed: func(taken, _ []netip.Prefix) { last = taken }}
		rules := &policy.Client{Network: netip.MustParsePrefix("10.1.1.0/24")}
		inbox := NewInbox()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go taker.Follow(ctx, inbox, netip.MustParseAddr("10.1.1.4"), rules)
		var network netip.Prefix
		const minutes = 20
		for i := range minutes * 60 {
			network = netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(i), 0}), 24)
			inbox.Put(transport.Update{Serial: uint64(i + 1), Routes: []netip.Prefix{network}})
			time.Sleep(time.Second)
		}
		time.Sleep(2 * changeEvery)
		cancel()
		synctest.Wait()
		if k.calls < minutes || k.calls > minutes+changeBurst+1 { // the last one waited
			t.Errorf("%d changes in %d minutes", k.calls, minutes)
		}
		if len(last) != 1 || last[0] != network {
			t.Errorf("the last is %v, not %v", last, network)
		}
	})
}

// Of too many networks so many are taken as fit into a request.
func TestTooManyRoutes(t *testing.T) {
	var taken []netip.Prefix
	taker := &Taker{Keeper: &keeper{}, Log: slog.New(slog.DiscardHandler),
		Changed: func(all, _ []netip.Prefix) { taken = all }}
	taker.Accept.Exclude = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}
	u := transport.Update{Routes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for i := range 1023 {
		u.Routes = append(u.Routes,
			netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}), 32))
	}
	rules := &policy.Client{Network: netip.MustParsePrefix("10.1.1.0/24")}
	taker.apply(t.Context(), u, netip.Addr{}, rules)
	if len(taken) != maxRoutes {
		t.Errorf("%d networks", len(taken))
	}
}
