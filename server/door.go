package server

import (
	"container/list"
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"tunnel/transport"
)

// doorRules bound the connections. 0 is no bound.
type doorRules struct {
	total     int           // connections at once
	perSource int           // of them from one source
	strangers int           // of them not logged in
	perNew    int           // of those from one source
	grace     time.Duration // a stranger who has been here for so long may have to go for another
}

// filesPause is the time between two lines of the log that say that there are no files for connections.
const filesPause = time.Minute

// door counts connections from accept to their end, and lets no more in than its rules allow.
//
// A full house of strangers must not keep clients out, who are strangers themselves until they have logged in. So a
// newcomer takes the place of whoever has been a stranger longest, after a grace in which any client logs in. Until that
// has passed newcomers wait in the kernel's backlog, so that a thousand clients who come back at once do not throw one
// another out.
type door struct {
	rules   doorRules
	proxies proxies
	refused *refused
	files   rate.Sometimes // limits what is said about a lack of them

	mu        sync.Mutex
	guests    map[net.Conn]*guest
	sources   map[netip.Prefix]*source
	strangers list.List     // of *guest, who came first in front
	room      chan struct{} // holds a token when a stranger has gone
}

// guest is one connection.
type guest struct {
	conn     net.Conn
	since    time.Time
	source   *source       // nil is not counted
	stranger *list.Element // in door.strangers, nil after the login
	asked    bool          // a whole request came
	upgraded bool          // its end is the handler's, not the http.Server's
}

// source is what the connections from one address (IPv6: /64) have in common.
type source struct {
	key       netip.Prefix
	guests    int
	strangers int
}

func newDoor(rules doorRules, proxies proxies, refused *refused) *door {
	return &door{
		rules: rules, proxies: proxies, refused: refused, files: rate.Sometimes{Interval: filesPause},
		guests: map[net.Conn]*guest{}, sources: map[netip.Prefix]*source{}, room: make(chan struct{}, 1),
	}
}

// listener returns ln, a transport.Listener, without those whom the door closes on.
func (d *door) listener(ln net.Listener) net.Listener {
	return &doorListener{Listener: ln, door: d, closed: make(chan struct{})}
}

type doorListener struct {
	net.Listener
	door   *door
	once   sync.Once
	closed chan struct{}
}

func (l *doorListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			l.door.failed(err)
			return nil, err // http.Server tries again what may get better
		}
		if l.door.admit(c, l.closed) {
			return c, nil
		}
		_ = c.Close()
	}
}

func (l *doorListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// failed says that connections wait for files. What else accept(2) fails with is about one connection, or ends the server.
func (d *door) failed(err error) {
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		d.files.Do(func() {
			d.refused.log.Warn("new connections wait: no more files can be opened, raise the hard limit (ulimit -Hn)", "err", err)
		})
	}
}

// admit lets c in, or tells that it has to be closed. It waits for room among the strangers for at most a grace, or until
// closed.
func (d *door) admit(c net.Conn, closed <-chan struct{}) bool {
	address := addressOf(c.RemoteAddr().String())
	key := sourceOf(address)
	if d.proxies.has(address) {
		key = netip.Prefix{} // its clients are counted one by one when they have told who they are
	}
	for {
		wait, refusal, ok := d.enter(c, key, time.Now())
		if ok {
			return true
		}
		if wait == 0 {
			d.refused.count(refusal, d.refused.log).Warn("refused: too many connections", "remote", address, "limit", refusal.name())
			return false
		}
		timer := time.NewTimer(wait)
		select {
		case <-d.room:
		case <-timer.C:
		case <-closed:
			timer.Stop()
			return false
		}
		timer.Stop()
	}
}

// enter makes c a guest. If not, it has to wait for as long as that, or is refused when that is 0.
func (d *door) enter(c net.Conn, key netip.Prefix, now time.Time) (wait time.Duration, why refusal, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for why, full := d.full(key, true); full; why, full = d.full(key, true) {
		// Whoever holds a place without a login may have to give it to the newcomer.
		from := key
		if why == refuseTotal {
			from = netip.Prefix{}
		}
		if d.evict(from, now) > 0 {
			return 0, why, false
		}
	}
	if d.rules.strangers > 0 && d.strangers.Len() >= d.rules.strangers {
		if wait := d.evict(netip.Prefix{}, now); wait > 0 {
			return wait, 0, false
		}
	}
	g := &guest{conn: c, since: now}
	g.stranger = d.strangers.PushBack(g)
	d.guests[c] = g
	d.count(g, key)
	return 0, 0, true
}

// full tells whether there may be no more from key, and why. A connection that is here already, and only moves to key,
// does not count towards the total.
func (d *door) full(key netip.Prefix, comes bool) (why refusal, full bool) {
	if s := d.sources[key]; s != nil && d.rules.perSource > 0 {
		if s.guests >= d.rules.perSource {
			return refuseSource, true
		}
		if d.rules.perNew > 0 && s.strangers >= d.rules.perNew {
			return refuseStrangers, true
		}
	}
	return refuseTotal, comes && d.rules.total > 0 && len(d.guests) >= d.rules.total
}

// evict cuts off the oldest stranger of a source, of all for the zero prefix. If that one's grace is not over, or there
// is none, it returns how long to wait for it.
func (d *door) evict(key netip.Prefix, now time.Time) (wait time.Duration) {
	for e := d.strangers.Front(); e != nil; e = e.Next() {
		g, _ := e.Value.(*guest)
		if key.IsValid() && (g.source == nil || g.source.key != key) {
			continue
		}
		if wait := d.rules.grace - now.Sub(g.since); wait > 0 {
			return wait
		}
		d.refused.note(refuseOldest) // whoever opens many sees it by himself
		d.forget(g)
		_ = g.conn.Close() // of the TCP connection alone, which does not wait
		return 0
	}
	return d.rules.grace
}

// count counts g, which is a stranger, under key.
func (d *door) count(g *guest, key netip.Prefix) {
	if !key.IsValid() {
		return
	}
	s := d.sources[key]
	if s == nil {
		s = &source{key: key}
		d.sources[key] = s
	}
	s.guests++
	if g.stranger != nil {
		s.strangers++
	}
	g.source = s
}

// uncount undoes count.
func (d *door) uncount(g *guest) {
	s := g.source
	if s == nil {
		return
	}
	g.source = nil
	s.guests--
	if g.stranger != nil {
		s.strangers--
	}
	if s.guests == 0 {
		delete(d.sources, s.key)
	}
}

// forget ends the counting of g. It may be called twice.
func (d *door) forget(g *guest) {
	if d.guests[g.conn] != g {
		return
	}
	delete(d.guests, g.conn)
	d.uncount(g)
	d.settle(g)
}

// settle ends g's time as a stranger.
func (d *door) settle(g *guest) {
	if g.stranger == nil {
		return
	}
	if g.source != nil {
		g.source.strangers--
	}
	d.strangers.Remove(g.stranger)
	g.stranger = nil
	select {
	case d.room <- struct{}{}:
	default: // a token is there already
	}
}

// loggedIn tells that g is no stranger any more.
func (d *door) loggedIn(g *guest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settle(g)
}

// move counts g under key: the proxy that it came through has told where it comes from. It is false, with the reason,
// when there may be no more from there.
func (d *door) move(g *guest, key netip.Prefix) (refusal, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g.asked = true
	if d.guests[g.conn] != g || g.source != nil {
		return 0, true // cut off, or counted already
	}
	if why, full := d.full(key, false); full {
		return why, false
	}
	d.count(g, key)
	return 0, true
}

// live tells whether a connection from key has logged in.
func (d *door) live(key netip.Prefix) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.sources[key]
	return s != nil && s.guests > s.strangers
}

// connState is the http.Server's hook of that name.
func (d *door) connState(c net.Conn, state http.ConnState) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.guests[c]
	switch {
	case g == nil: // cut off
	case state == http.StateHijacked:
		g.upgraded = true
	case state == http.StateClosed:
		if !g.asked {
			d.refused.note(refuseSilent) // whoever comes and goes has nothing to be told
		}
		d.forget(g)
	}
}

// leave tells that the handler of g's request is done. What was upgraded is closed by then.
func (d *door) leave(g *guest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g.upgraded {
		d.forget(g)
	}
}

type guestKey struct{}

// connContext is the http.Server's hook of that name.
func (d *door) connContext(ctx context.Context, c net.Conn) context.Context {
	d.mu.Lock()
	g := d.guests[c]
	d.mu.Unlock()
	if g == nil { // cut off already
		g = &guest{conn: c}
	}
	return context.WithValue(transport.ConnContext(ctx, c), guestKey{}, g)
}
