package networks

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tunnel/auth"
	"tunnel/lease"
	"tunnel/server/peers"
	"tunnel/state"
	"tunnel/transport"
)

// made are Networks with tokens.
type made struct {
	*Networks

	tokens *auth.Store
	clock  time.Time // of changes of what clients advertise
}

// newNetworks returns the Networks of a hub that forwards between clients, without tokens.
func newNetworks(t *testing.T, log io.Writer) *made {
	t.Helper()
	file, err := state.Open(filepath.Join(t.TempDir(), "tunnel.db"))
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := auth.Open(file.Bucket("tokens"))
	if err != nil {
		t.Fatal(err)
	}
	leases, err := lease.Open(file.Bucket("leases"), netip.MustParsePrefix("10.255.0.0/24"),
		lease.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _, _ = leases.Close(), tokens.Close(), file.Close() })
	m := &made{tokens: tokens, clock: time.Now()}
	m.Networks = New(Config{Site: Site{Together: true}, Peers: peers.NewTable(nil, time.Now),
		Tokens: tokens, Leases: leases, Now: func() time.Time { return m.clock },
		Log: slog.New(slog.NewTextHandler(log, nil))})
	return m
}

// token makes a token and returns its id.
func (m *made) token(t *testing.T, spec auth.Spec) string {
	t.Helper()
	token, _, err := m.tokens.Create(spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Changed()
	return token.ID
}

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// However much is advertised, an update has as much as a client takes, and what is pushed is among
// it. The log says so once.
func TestTooManyNetworks(t *testing.T) {
	var log bytes.Buffer
	m := newNetworks(t, &log)
	m.Push = prefixes("192.168.7.0/24")
	laptop := m.token(t, auth.Spec{Name: "laptop"})
	for i := range 20 {
		id := m.token(t, auth.Spec{Name: fmt.Sprint("site", i),
			Routes: prefixes(fmt.Sprintf("10.%d.0.0/16", i))})
		var all []netip.Prefix
		for k := range transport.MaxAdvertise {
			all = append(all, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), byte(k), 0}), 24))
		}
		m.offer(lease.Holder{Token: id}, all)
	}
	for range 2 {
		u := m.scene().of(laptop).update
		u.Serial = 1
		if _, err := u.Encode(); err != nil || len(u.Routes) != transport.MaxRoutes {
			t.Errorf("%d routes, %v", len(u.Routes), err)
		}
		if !slices.Contains(u.Routes, m.Push[0]) || !slices.IsSortedFunc(u.Routes,
			netip.Prefix.Compare) {
			t.Errorf("told %v", u.Routes)
		}
	}
	if got := len(m.scene().machine().Behind); got != 20*transport.MaxAdvertise {
		t.Errorf("the machine routes %d", got)
	}
	if lines := strings.Count(log.String(), "\n"); lines != 1 {
		t.Errorf("%d lines:\n%s", lines, log.String())
	}
}

// TestOffersAreLimited has a client change what it advertises all the time: a few changes hold at
// once, and then the newest every half a minute.
func TestOffersAreLimited(t *testing.T) {
	m := newNetworks(t, io.Discard)
	id := m.token(t, auth.Spec{Name: "site", Routes: prefixes("10.50.0.0/16")})
	lists := [][]netip.Prefix{prefixes("10.50.1.0/24"), prefixes("10.50.2.0/24"), nil}
	holder := lease.Holder{Token: id}
	changes := 0
	for i, last := range slices.Repeat(lists, 100) {
		before := m.scene().machine().Behind
		late := m.offer(holder, last)
		now := m.scene().machine().Behind
		if !slices.Equal(now, before) {
			changes++
		}
		if late == slices.Equal(now, last) {
			t.Fatalf("change %d: late %v, and %v holds; want %v", i, late, now, last)
		}
	}
	if changes != offerBurst {
		t.Errorf("%d changes at once; want %d", changes, offerBurst)
	}
	m.offer(holder, lists[0])
	m.Settle()
	if now := m.scene().machine().Behind; slices.Equal(now, lists[0]) {
		t.Error("a change did not wait")
	}
	m.clock = m.clock.Add(offerPause)
	m.Settle()
	if now := m.scene().machine().Behind; !slices.Equal(now, lists[0]) {
		t.Errorf("half a minute later %v holds; want %v", now, lists[0])
	}
}

// What is told of clients is what each of them advertises, not what its token allows, nor what a
// token has lost.
func TestOffered(t *testing.T) {
	m := newNetworks(t, io.Discard)
	id := m.token(t, auth.Spec{Name: "site", Routes: prefixes("10.50.0.0/16", "10.51.0.0/16")})
	one, other := lease.Holder{Token: id, Machine: "1"}, lease.Holder{Token: id, Machine: "2"}
	m.offer(one, prefixes("10.50.1.0/24", "10.51.0.0/16"))
	m.offer(other, prefixes("10.50.2.0/24"))
	if all := m.Offered(); len(all) != 2 || len(all[one]) != 2 || len(all[other]) != 1 {
		t.Errorf("offered: %v", all)
	}
	routes := prefixes("10.51.0.0/16")
	if _, _, err := m.tokens.Set("site", auth.Change{Routes: &routes}, nil); err != nil {
		t.Fatal(err)
	}
	m.Changed()
	if all := m.Offered(); len(all) != 1 || !slices.Equal(all[one], routes) {
		t.Errorf("offered after a change of the token: %v", all)
	}
}

// TestExpire has a token expire whose client is not connected: its networks go with it.
func TestExpire(t *testing.T) {
	m := newNetworks(t, io.Discard)
	end := time.Now().Add(300 * time.Millisecond)
	m.token(t, auth.Spec{Name: "site", Routes: prefixes("10.50.0.0/16"),
		PushRoutes: prefixes("192.168.7.0/24"), Expires: end})
	behind := netip.MustParseAddr("10.50.0.9")
	<-m.changed
	m.Expire()
	if !m.Peers.Has(behind) && time.Now().Before(end) {
		t.Fatal("the network has gone too soon")
	}
	time.Sleep(time.Until(end))
	m.Expire()
	if m.Peers.Has(behind) {
		t.Error("a network outlives its token")
	}
	select {
	case <-m.changed:
	default:
		t.Error("nobody is told")
	}
	if now := m.judgeAll().Pushed; len(now) > 0 {
		t.Errorf("the machine forwards to %v", now)
	}
}
