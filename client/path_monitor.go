package client

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"tunnel/host"
	"tunnel/keep"
	"tunnel/netwatch"
	"tunnel/route"
	"tunnel/transport"
)

// Network tells when this machine's network changes, as netwatch.Watcher does.
type Network = keep.Network

// errMoved says that packets would take another path to the server now than the connection, or the
// attempt at one, does.
var errMoved = errors.New("this machine's way to the server has changed")

const (
	// blind is how old an attempt must be that knows no path yet, because no name resolves, to
	// begin anew on any change.
	blind = time.Second
)

// A pathMonitor knows by which path packets get to the server, and ends the connection, the attempt
// or the pause before the next one when there is another.
type pathMonitor struct {
	host   Host
	keeper *keep.Keeper
	own    int // index of the tunnel's device, 0 if not known
	log    *slog.Logger
	lost   func(error)   // ends the client; set before follow
	moved  chan struct{} // holds one token when a pause shall end

	mu       sync.Mutex
	nextHops map[netip.Addr]nextHop // of each hop that was tried last, or is in use
	conns    []*transport.Conn      // of the session; none while there is none
	end      func()                 // ends the attempt, nil while there is none
	since    time.Time              // when the attempt, or the pause, began
	stage    int                    // counts attempts, connections and pauses
	// why the connection or the attempt was ended here, nil if it was not
	why error

	probeDevice, probePaths bool // there was a change of these
	unsettled               bool // the device is to be looked at again
	blocked                 bool // the device cannot be what it was given, for now
}

// A nextHop is how packets leave this machine towards a server; the zero value is none.
type nextHop struct{ route.NextHop }

// serves reports whether packets may get through.
func (n nextHop) serves() bool { return n.Dev != "" && (n.Running || n.Index == 0) }

// same reports whether a packet leaves this machine as by other.
func (n nextHop) same(other nextHop) bool {
	return n.Dev == other.Dev && n.Gateway == other.Gateway
}

func newPathMonitor(c *Client) *pathMonitor {
	own := 0
	if link, err := net.InterfaceByName(c.Device.Name()); err == nil {
		own = link.Index
	}
	return &pathMonitor{
		host: c.Host, keeper: keep.New(c.Host, own, c.Log), own: own, log: c.Log,
		moved: make(chan struct{}, 1),
		lost:  func(error) {},
	}
}

// begin is the beginning of another stage. The caller holds mu.
func (m *pathMonitor) begin(conns []*transport.Conn, end func()) {
	m.conns, m.end, m.since, m.why = conns, end, time.Now(), nil
	m.stage++
}

// dialling says that an attempt begins, which end would end.
func (m *pathMonitor) dialling(end func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begin(nil, end)
	m.nextHops = map[netip.Addr]nextHop{}
	select {
	case <-m.moved:
	default:
	}
}

// try prepares the path to a hop that is about to be tried. noRoute reports that only the look-up
// knows none: rules may tell packets of the connection by what the look-up does not say, its port
// or its source address, so that it is worth trying.
func (m *pathMonitor) try(ctx context.Context, hop netip.Addr) (noRoute, err error) {
	now, err := m.findNextHop(ctx, hop)
	if errors.Is(err, route.ErrNoRoute) {
		// The path that is known leads into the tunnel.
		if _, again := m.host.NextHop(ctx, hop); errors.Is(again, route.ErrNoRoute) {
			noRoute, err = err, nil
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nextHops[hop] = now
	return noRoute, err
}

// connected says that there is a connection, to one of the hops that were tried.
func (m *pathMonitor) connected(conn *transport.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.begin([]*transport.Conn{conn}, nil)
	m.nextHops = map[netip.Addr]nextHop{conn.Hop(): m.nextHops[conn.Hop()]}
}

// joined says that the session has another connection, to the same hop.
func (m *pathMonitor) joined(conn *transport.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns = append(m.conns, conn)
	if m.why != nil { // as the others
		conn.Cut()
	}
}

// left says that one of several connections has ended; the end of the last is for pause.
func (m *pathMonitor) left(conn *transport.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.conns) > 1 {
		m.conns = slices.DeleteFunc(slices.Clone(m.conns),
			func(c *transport.Conn) bool { return c == conn })
	}
}

// pause says that there is neither a connection nor an attempt at one, and returns why if that is
// this watch's doing, else err.
func (m *pathMonitor) pause(err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.why != nil {
		err = m.why
	}
	m.begin(nil, nil)
	return err
}

// findNextHop refreshes the bypass to a hop and returns its next hop; the error says that there is
// none, or that it could not be made.
func (m *pathMonitor) findNextHop(ctx context.Context, hop netip.Addr) (nextHop, error) {
	if zone := hop.Zone(); zone != "" { // a link-local address: it is on the link that it names
		now := nextHop{route.NextHop{Dev: zone}}
		if link, err := net.InterfaceByName(zone); err == nil {
			now.Index, now.Running = link.Index, link.Flags&net.FlagRunning != 0
		}
		return now, nil
	}
	if err := m.host.Bypass(ctx, hop); err != nil {
		return nextHop{}, err
	}
	found, err := m.host.NextHop(ctx, hop)
	if err != nil {
		return nextHop{}, err
	}
	return nextHop{found}, nil
}

// follow reads what network has to tell until it is closed, and probes the device and the next hops
// when that may concern them, until ctx ends. It closes network.
func (m *pathMonitor) follow(ctx context.Context, network Network) {
	keep.Follow(ctx, network, m.concerns, func() bool { return m.probe(ctx) }, func(err error) {
		m.log.Warn("the network is not watched any more", "err", err)
	})
}

// concerns reports whether a change may be one of the device, or of the path to the server.
func (m *pathMonitor) concerns(e netwatch.Event) bool {
	device := m.keeper.Concerns(e)
	m.mu.Lock()
	defer m.mu.Unlock()
	paths := m.leads(e)
	m.probeDevice, m.probePaths = m.probeDevice || device, m.probePaths || paths
	return device || paths
}

// leads reports whether a change may be one of the path to the server: a route or rule that may
// decide about it, the address that a connection has, or the interface that leads there. The caller
// holds mu.
func (m *pathMonitor) leads(e netwatch.Event) bool {
	if e.Kind == netwatch.File || e.Kind != netwatch.Route && e.Link != 0 && e.Link == m.own {
		return false
	}
	if e.Kind == netwatch.Missed || len(m.nextHops) == 0 {
		return e.Kind != netwatch.Link
	}
	for hop, known := range m.nextHops {
		if e.Kind == netwatch.Link {
			if e.Link == known.Index || known.Index == 0 && known.Dev != "" {
				return true
			}
			continue
		}
		family := netwatch.IPv6
		if hop.Is4() {
			family = netwatch.IPv4
		}
		if e.Family != 0 && e.Family != family {
			continue
		}
		if !e.Prefix.IsValid() || e.Prefix.Masked().Contains(hop) ||
			e.Prefix.Masked().Contains(known.Gateway) ||
			e.Kind == netwatch.Address && e.Link == known.Index ||
			slices.ContainsFunc(m.conns,
				func(c *transport.Conn) bool { return c.Local() == e.Prefix.Addr() }) {
			return true
		}
	}
	return false
}

// probe looks at what has changed, and reports whether that is done: if not, it is to be called
// again after a while.
func (m *pathMonitor) probe(ctx context.Context) bool {
	m.mu.Lock()
	device, paths := m.probeDevice || m.unsettled, m.probePaths
	m.probeDevice, m.probePaths = false, false
	m.mu.Unlock()
	done := true
	if device {
		done = m.checkDevice(ctx)
	}
	if paths {
		m.probeNextHops(ctx)
	}
	return done
}

// checkDevice has the device be what it was given, and ends a connection that can do nothing with
// it.
func (m *pathMonitor) checkDevice(ctx context.Context) bool {
	err := m.keeper.Check(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unsettled = false
	switch {
	case ctx.Err() != nil:
	case err == nil:
		if m.blocked {
			m.blocked = false
			m.wake()
		}
	case keep.Fatal(err):
		m.lost(err)
	case errors.Is(err, route.ErrOverlap), errors.Is(err, host.ErrNotUsed):
		// what ends it is an event of its own
		m.blocked = true
		if len(m.conns) > 0 && m.why == nil {
			m.cut(err)
		}
	default:
		m.log.Warn("the device is not as it should be", "err", err)
		m.unsettled = true
	}
	return !m.unsettled
}

// cut ends the connections of the session. The caller holds mu.
func (m *pathMonitor) cut(why error) {
	m.why = why
	for _, conn := range m.conns {
		conn.Cut()
	}
}

// wake ends a pause. The caller holds mu.
func (m *pathMonitor) wake() {
	select {
	case m.moved <- struct{}{}:
	default:
	}
}

// probeNextHops looks them up, and acts when one has changed.
func (m *pathMonitor) probeNextHops(ctx context.Context) {
	m.mu.Lock()
	stage, conns := m.stage, slices.Clone(m.conns)
	hops := make([]netip.Addr, 0, len(m.nextHops))
	for hop := range m.nextHops {
		hops = append(hops, hop)
	}
	m.mu.Unlock()
	now := map[netip.Addr]nextHop{}
	for _, hop := range hops {
		found, err := m.findNextHop(ctx, hop)
		if err != nil {
			m.log.Debug("no path to the server", "hop", hop, "err", err)
		}
		now[hop] = found
	}
	connected := len(conns) > 0
	held := !slices.ContainsFunc(conns,
		func(c *transport.Conn) bool { return !hasAddress(c.Local()) })

	m.mu.Lock()
	defer m.mu.Unlock()
	if stage != m.stage { // what was looked at is over, and what has begun has had its own look
		return
	}
	change := len(hops) == 0 && time.Since(m.since) > blind
	for hop, found := range now {
		switch known := m.nextHops[hop]; {
		case !found.serves():
			if !connected {
				m.nextHops[hop] = found
			}
			// A connection keeps the path that it had: when the same comes back it goes on.
		case !found.same(known), !held, !connected && !known.serves():
			m.nextHops[hop] = found
			change = true
		}
	}
	if !change || m.why != nil {
		return
	}
	m.log.Info("the way to the server has changed", "stage",
		map[bool]string{true: "connected", false: "not connected"}[connected])
	switch {
	case connected:
		m.cut(errMoved)
	case m.end != nil:
		m.why = errMoved
		m.end()
	default:
		m.wake()
	}
}

// hasAddress reports whether this machine has an address; it is assumed when it cannot be found
// out.
func hasAddress(a netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	if err != nil || a.IsLoopback() {
		return true
	}
	for _, have := range all {
		if p, ok := have.(*net.IPNet); ok {
			if own, ok := netip.AddrFromSlice(p.IP); ok && own.Unmap() == a {
				return true
			}
		}
	}
	return false
}
