package admission

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

// fakeConn has an address, and records whether it was closed.
type fakeConn struct {
	net.Conn
	remote net.Addr
	closed bool
}

func (c *fakeConn) RemoteAddr() net.Addr { return c.remote }

func (c *fakeConn) Close() error {
	c.closed = true
	return nil
}

// testLimiter is a Limiter with a clock of its own.
type testLimiter struct {
	*Limiter
	*clock
	t     *testing.T
	known map[netip.Prefix]bool
	count [reasons]int
}

func newTestLimiter(t *testing.T, rules Rules) *testLimiter {
	t.Helper()
	l := &testLimiter{t: t, clock: newClock(), known: map[netip.Prefix]bool{}}
	rules.Known = func(s netip.Prefix) bool { return l.known[s] }
	rules.Now = func() time.Time { return l.now }
	rules.Refused = func(why Reason, _ netip.Addr) { l.count[why]++ }
	rules.Log = slog.New(slog.DiscardHandler)
	if rules.Unknown == 0 {
		rules.Unknown = DefaultUnknown
	}
	if rules.Reserved == 0 {
		rules.Reserved = DefaultReserved
	}
	l.Limiter = New(rules)
	return l
}

func connFrom(address string) *fakeConn {
	return &fakeConn{
		remote: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 1))}
}

func (l *testLimiter) admits(address string) *fakeConn {
	l.t.Helper()
	c := connFrom(address)
	if !l.Admit(c) {
		l.t.Fatalf("%s is refused: %v", address, l.count)
	}
	return c
}

func (l *testLimiter) authenticates(address string) *fakeConn {
	l.t.Helper()
	c := l.admits(address)
	l.Authenticated(l.tracked[c])
	return c
}

func (l *testLimiter) refuses(address string, want Reason) {
	l.t.Helper()
	before := l.count
	if before[want]++; l.Admit(connFrom(address)) || l.count != before {
		l.t.Errorf("%s: admitted, or the counts are %v; want %v", address, l.count, before)
	}
}

// empty fails the test unless nothing is counted any more.
func (l *testLimiter) empty() {
	l.t.Helper()
	for _, p := range []*pool{l.unknown, l.Limiter.known, l.local} {
		if len(p.nodes)+p.root.count+p.root.top != 0 {
			l.t.Errorf("still in a pool: %d nodes, %d connections", len(p.nodes), p.root.count)
		}
	}
	if len(l.tracked)+len(l.sources) != 0 {
		l.t.Errorf("still counted: %d connections, %d sources", len(l.tracked), len(l.sources))
	}
}

func TestLimiterPerSource(t *testing.T) {
	l := newTestLimiter(t, Rules{PerSource: 3})
	var all []*fakeConn
	for range 3 {
		all = append(all, l.authenticates("192.0.2.1"), l.authenticates("2001:db8::1"))
	}
	l.refuses("192.0.2.1", PerSource)
	l.refuses("2001:db8::ffff:1", PerSource) // the same /64
	all = append(all, l.admits("192.0.2.2"), l.admits("2001:db8:0:1::1"))
	l.ConnState(all[0], http.StateClosed)
	all = append(all, l.admits("192.0.2.1"))
	newer := l.admits("192.0.2.1") // evicts the unauthenticated one
	if !all[len(all)-1].closed || newer.closed {
		t.Error("the unauthenticated connection of that source did not make room")
	}
	all = append(all, newer)
	for range 100 { // this machine's are not counted by source
		all = append(all, l.authenticates("127.0.0.1"))
	}
	for _, c := range all {
		l.ConnState(c, http.StateClosed)
		l.ConnState(c, http.StateClosed)
	}
	l.empty()
}

func TestLimiterTotal(t *testing.T) {
	l := newTestLimiter(t, Rules{Total: 3})
	a, b := l.authenticates("192.0.2.1"), l.authenticates("192.0.2.2")
	unknown := l.admits("192.0.2.3")
	c := l.authenticates("192.0.2.4")
	if !unknown.closed || a.closed || b.closed {
		t.Errorf("closed: the unauthenticated %v, the others %v %v", unknown.closed, a.closed,
			b.closed)
	}
	l.pass(time.Hour)
	l.refuses("192.0.2.5", Total)
	for _, c := range []*fakeConn{a, b, c, unknown} {
		l.ConnState(c, http.StateClosed)
	}
	l.empty()
}

// A source at its limit is refused, and evicts no other's connection.
func TestLimiterFullTwice(t *testing.T) {
	l := newTestLimiter(t, Rules{Total: 2, PerSource: 1})
	l.authenticates("192.0.2.1")
	other := l.admits("192.0.2.2")
	l.refuses("192.0.2.1", PerSource)
	if other.closed {
		t.Error("another source's connection was closed")
	}
}

// The prefix with the most connections loses one for each newcomer; a client with one connection
// stays, and no newcomer is refused.
func TestLimiterEvictsTheHeaviest(t *testing.T) {
	for name, from := range map[string]func(i int) string{
		"one address":    func(int) string { return "198.51.100.1" },
		"an IPv4 /24":    func(i int) string { return fmt.Sprintf("198.51.100.%d", i%256) },
		"one /64":        func(i int) string { return fmt.Sprintf("2001:db8::%x", i) },
		"six /64":        func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i%6) },
		"all of a /56":   func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i%256) },
		"all of a /48":   func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i%65536) },
		"a hundred /48":  func(i int) string { return fmt.Sprintf("2001:db8:%x:%x::1", i%100, i) },
		"some IPv4, too": func(i int) string { return fmt.Sprintf("198.51.%d.%d", i%50, i%256) },
		"and whole sites": func(i int) string {
			return fmt.Sprintf("2001:db8:%x:%x::1", i%3,
				i%1000)
		},
	} {
		l := newTestLimiter(t, Rules{Unknown: 400})
		client := l.admits("192.0.2.1")
		neighbour := l.admits("2001:db8:ffff::1")
		for i := range 20000 {
			l.admits(from(i))
			l.pass(50 * time.Millisecond) // within every rate
		}
		if client.closed || neighbour.closed {
			t.Errorf("%s: closed: %v %v", name, client.closed, neighbour.closed)
		}
		if n := l.Len(); n > 400 {
			t.Errorf("%s: %d connections", name, n)
		}
		l.check()
	}
}

// check fails the test unless the pools' trees agree with the connections.
func (l *testLimiter) check() {
	l.t.Helper()
	for _, p := range []*pool{l.unknown, l.Limiter.known, l.local} {
		want := map[netip.Prefix]int{}
		n := 0
		for _, t := range l.tracked {
			if t.pool == p {
				n++
				for _, prefix := range append(networks(t.key), t.key) {
					want[prefix]++
				}
			}
		}
		if p.root.count != n || len(p.nodes) != len(want) {
			l.t.Fatalf("%d connections, %d nodes; want %d, %d", p.root.count, len(p.nodes), n,
				len(want))
		}
		for prefix, n := range want {
			node := p.nodes[prefix]
			if node == nil || node.count != n || node.parent.ranks[n][node.index] != node ||
				node.parent.top < n {
				l.t.Fatalf("%s: %+v; want %d connections", prefix, node, n)
			}
			if node.top > 0 && len(node.ranks[node.top]) == 0 {
				l.t.Fatalf("%s: no child has %d connections", prefix, node.top)
			}
		}
	}
}

// Among sources that all have one connection, a newcomer stays with the probability that
// docs/ARCHITECTURE.md gives.
func TestLimiterEvictsAtRandom(t *testing.T) {
	const room, clients, after = 500, 400, 250
	kept := 0
	for i := range clients {
		l := newTestLimiter(t, Rules{Unknown: room})
		next := func(n int) string { return fmt.Sprintf("2001:db8:%x::%d", n, i) }
		for n := range room {
			l.admits(next(n))
		}
		client := l.admits("192.0.2.1")
		for n := range after {
			l.admits(next(room + n))
		}
		if !client.closed {
			kept++
		}
	}
	if kept < clients/2 || kept > clients*7/10 { // e^-½ is 0.61; 4 σ
		t.Errorf("%d of %d were kept; want about 243", kept, clients)
	}
}

// Known sources have a pool of their own, from which only they evict one another.
func TestLimiterKnown(t *testing.T) {
	l := newTestLimiter(t, Rules{Unknown: 50, Reserved: 10})
	l.known[from("192.0.2.1")] = true
	client := l.admits("192.0.2.1")
	local := l.admits("127.0.0.1")
	for i := range 1000 {
		l.admits(fmt.Sprintf("2001:db8:%x::1", i))
	}
	if client.closed || local.closed {
		t.Error("unknown sources evicted a known one's connection")
	}
	session := l.authenticates("192.0.2.2") // has a session, and so is known
	for range 10 {
		l.admits("192.0.2.2")
	}
	if client.closed || session.closed {
		t.Error("a source with one connection lost it to one with ten")
	}
	if n := l.Len(); n != 49+10+1+1 { // of 50 one has become the session
		t.Errorf("%d connections", n)
	}
	l.check()
}

// A connection through a proxy counts for the client's source.
func TestLimiterProxied(t *testing.T) {
	l := newTestLimiter(t,
		Rules{PerSource: 2, Proxies: Proxies{netip.MustParsePrefix("192.0.2.1/32")}})
	var all []*fakeConn
	for i := range 4 {
		c := l.admits("192.0.2.1")
		why, ok := l.Requested(l.tracked[c], from("198.51.100.7"))
		if ok != (i < 2) || !ok && why != PerSource {
			t.Errorf("connection %d: %v, %v", i, ok, why)
		}
		all = append(all, c)
	}
	l.check()
	if l.Live(from("198.51.100.7")) {
		t.Error("nobody has logged in")
	}
	l.Authenticated(l.tracked[all[0]])
	if !l.Live(from("198.51.100.7")) || l.Live(from("192.0.2.1")) {
		t.Error("the client that has logged in is not live, or its proxy is")
	}
	for _, c := range all {
		l.ConnState(c, http.StateClosed)
	}
	l.empty()
}

// An upgraded connection counts until its handler returns, not until net/http gives it up.
func TestLimiterUpgraded(t *testing.T) {
	l := newTestLimiter(t, Rules{})
	c := l.admits("192.0.2.1")
	tracked := l.tracked[c]
	l.Leave(tracked)
	if l.Len() != 1 {
		t.Error("a request that became no session ends with its connection")
	}
	l.ConnState(c, http.StateHijacked)
	l.Authenticated(tracked)
	l.Leave(tracked)
	l.empty()
}

// MakeRoom closes unauthenticated connections only.
func TestLimiterMakesRoom(t *testing.T) {
	l := newTestLimiter(t, Rules{})
	session := l.authenticates("192.0.2.1")
	for range 40 {
		l.admits("192.0.2.2")
	}
	for range 5 {
		l.MakeRoom()
	}
	if n := l.Len(); n != 1 || session.closed {
		t.Errorf("%d are left; closed: %v", n, session.closed)
	}
}

func BenchmarkAdmit(b *testing.B) {
	l := newTestLimiter(&testing.T{}, Rules{})
	var remotes []net.Addr
	for i := range 6 {
		remotes = append(remotes, connFrom(fmt.Sprintf("2001:db8:0:%x::1", i)).remote)
	}
	b.ReportAllocs()
	for i := range b.N {
		l.Admit(&fakeConn{remote: remotes[i%6]})
		l.pass(50 * time.Millisecond)
	}
}
