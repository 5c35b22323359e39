package server

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"
)

// fakeConn is a connection of which only the address matters, and whether it was closed.
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

// porch is a door with a clock of its own.
type porch struct {
	*door
	t *testing.T
	*clock
}

func newPorch(t *testing.T, rules doorRules) *porch {
	t.Helper()
	return &porch{newDoor(rules, nil, newRefused(slog.New(slog.DiscardHandler))), t, newClock()}
}

// comes is a connection from an address, and whether it was let in.
func (p *porch) comes(address string) (*fakeConn, time.Duration, refusal, bool) {
	c := &fakeConn{remote: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 1))}
	wait, why, ok := p.enter(c, from(address), p.now)
	return c, wait, why, ok
}

func (p *porch) enters(address string) *fakeConn {
	p.t.Helper()
	c, wait, why, ok := p.comes(address)
	if !ok {
		p.t.Fatalf("%s has to wait %v, or is refused: %s", address, wait, why.name())
	}
	return c
}

func (p *porch) member(address string) *fakeConn {
	p.t.Helper()
	c := p.enters(address)
	p.loggedIn(p.guests[c])
	return c
}

func (p *porch) refuses(address string, want refusal) {
	p.t.Helper()
	if _, wait, why, ok := p.comes(address); ok || wait != 0 || why != want {
		p.t.Errorf("%s: in %v, wait %v, %s; want %s", address, ok, wait, why.name(), want.name())
	}
}

// empty fails the test unless nothing is counted any more.
func (p *porch) empty() {
	p.t.Helper()
	if len(p.guests)+len(p.sources)+p.strangers.Len() != 0 {
		p.t.Errorf("still counted: %d connections, %d sources, %d strangers", len(p.guests), len(p.sources), p.strangers.Len())
	}
}

func TestDoorPerSource(t *testing.T) {
	p := newPorch(t, doorRules{perSource: 3, grace: time.Second})
	var all []*fakeConn
	for range 3 {
		all = append(all, p.member("192.0.2.1"), p.member("2001:db8::1"))
	}
	p.refuses("192.0.2.1", refuseSource)
	p.refuses("2001:db8::ffff:1", refuseSource) // the same /64
	all = append(all, p.enters("192.0.2.2"), p.enters("2001:db8:0:1::1"))
	p.connState(all[0], http.StateClosed)
	all = append(all, p.enters("192.0.2.1"))
	p.refuses("192.0.2.1", refuseSource)
	for range 100 { // this machine's own
		all = append(all, p.member("127.0.0.1"))
	}
	for _, c := range all {
		p.connState(c, http.StateClosed)
		p.connState(c, http.StateClosed)
	}
	p.empty()
}

func TestDoorTotal(t *testing.T) {
	p := newPorch(t, doorRules{total: 3, grace: time.Second})
	a, b := p.member("192.0.2.1"), p.member("192.0.2.2")
	stranger := p.enters("192.0.2.3")
	p.refuses("192.0.2.4", refuseTotal)
	p.pass(time.Second)
	c := p.member("192.0.2.4") // the stranger has had its time
	if !stranger.closed || a.closed || b.closed {
		t.Errorf("closed: the stranger %v, the others %v %v", stranger.closed, a.closed, b.closed)
	}
	p.pass(time.Hour)
	p.refuses("192.0.2.5", refuseTotal)
	for _, c := range []*fakeConn{a, b, c, stranger} {
		p.connState(c, http.StateClosed)
	}
	p.empty()
}

// Strangers from one source take one another's places, those from others' never.
func TestDoorStrangersPerSource(t *testing.T) {
	p := newPorch(t, doorRules{perSource: 10, strangers: 10, perNew: 2, grace: time.Second})
	other := p.enters("192.0.2.9")
	first, second := p.enters("192.0.2.1"), p.enters("192.0.2.1")
	p.refuses("192.0.2.1", refuseStrangers)
	p.loggedIn(p.guests[first])
	third := p.enters("192.0.2.1")
	p.refuses("192.0.2.1", refuseStrangers)
	p.pass(time.Second)
	p.enters("192.0.2.1")
	if first.closed || !second.closed || third.closed || other.closed {
		t.Errorf("closed: the member %v, the oldest %v, the next %v, another's %v", first.closed, second.closed, third.closed, other.closed)
	}
}

// A source that may have no more cannot throw out another's stranger, though all are full.
func TestDoorFullTwice(t *testing.T) {
	p := newPorch(t, doorRules{total: 2, perSource: 1, grace: time.Second})
	p.member("192.0.2.1")
	stranger := p.enters("192.0.2.2")
	p.pass(time.Second)
	p.refuses("192.0.2.1", refuseSource)
	if stranger.closed {
		t.Error("the stranger was closed for nobody")
	}
}

// When all places of strangers are taken a newcomer waits until the oldest has had its time, and then takes its place.
func TestDoorStrangers(t *testing.T) {
	p := newPorch(t, doorRules{strangers: 2, perNew: 2, grace: time.Second})
	member := p.member("192.0.2.1")
	first := p.enters("192.0.2.2")
	p.pass(time.Second / 4)
	second := p.enters("192.0.2.3")
	if _, wait, _, ok := p.comes("192.0.2.4"); ok || wait != time.Second*3/4 {
		t.Errorf("in %v, wait %v", ok, wait)
	}
	p.pass(time.Second * 3 / 4)
	p.enters("192.0.2.4")
	if member.closed || !first.closed || second.closed {
		t.Errorf("closed: the member %v, the oldest %v, the next %v", member.closed, first.closed, second.closed)
	}
	p.connState(first, http.StateClosed) // net/http notices
	if n := p.strangers.Len(); n != 2 {
		t.Errorf("%d strangers", n)
	}
}

// Whoever logs in makes room for one who waits.
func TestDoorWait(t *testing.T) {
	p := newPorch(t, doorRules{strangers: 1, grace: time.Hour})
	first := p.enters("192.0.2.1")
	in := make(chan bool)
	next := &fakeConn{remote: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2)}}
	go func() { in <- p.admit(next, nil) }()
	time.Sleep(50 * time.Millisecond)
	p.loggedIn(p.guests[first])
	if !<-in {
		t.Error("not let in")
	}
	closed := make(chan struct{})
	close(closed)
	if p.admit(&fakeConn{remote: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 3)}}, closed) {
		t.Error("let in after the end")
	}
}

// What came through a proxy counts where it really comes from.
func TestDoorMove(t *testing.T) {
	p := newPorch(t, doorRules{perSource: 2})
	var all []*fakeConn
	for i := range 4 {
		c := &fakeConn{remote: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}}
		if _, _, ok := p.enter(c, netip.Prefix{}, p.now); !ok {
			t.Fatal("not let in")
		}
		why, ok := p.move(p.guests[c], from("198.51.100.7"))
		if ok != (i < 2) || !ok && why != refuseSource {
			t.Errorf("connection %d: %v, %s", i, ok, why.name())
		}
		all = append(all, c)
	}
	if p.live(from("198.51.100.7")) {
		t.Error("nobody has logged in")
	}
	p.loggedIn(p.guests[all[0]])
	if !p.live(from("198.51.100.7")) || p.live(from("192.0.2.1")) {
		t.Error("who has logged in is not known")
	}
	for _, c := range all {
		p.connState(c, http.StateClosed)
	}
	p.empty()
}

// An upgraded connection counts until its handler is done, whatever net/http says.
func TestDoorUpgraded(t *testing.T) {
	p := newPorch(t, doorRules{})
	c := p.enters("192.0.2.1")
	g := p.guests[c]
	p.leave(g)
	if len(p.guests) != 1 {
		t.Error("a request that became no session ends with its connection")
	}
	p.connState(c, http.StateHijacked)
	p.loggedIn(g)
	p.leave(g)
	p.empty()
}
