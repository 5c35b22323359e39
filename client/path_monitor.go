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

	"tunnel/admin/status"
	"tunnel/keep"
	"tunnel/netwatch"
	"tunnel/route"
	"tunnel/transport/ws"
)

// Network reports changes of this machine's network, as netwatch.Watcher does.
type Network = keep.Network

// errMoved means that packets to the server would now take another path than the connection, or the
// attempt to connect, does.
var errMoved = errors.New("this machine's way to the server has changed")

const (
	// blind is the age from which an attempt that knows no path yet, because no name resolves, is
	// restarted on any change.
	blind = time.Second
)

// A pathMonitor tracks the path of packets to the server. When it changes, it ends the connection,
// the attempt, or the pause before the next attempt.
type pathMonitor struct {
	host   Host
	keeper *keep.Keeper
	own    int // index of the tunnel's device, 0 if not known
	log    *slog.Logger
	lost   func(error)   // ends the client; set before follow
	moved  chan struct{} // has an element when a pause should end

	mu       sync.Mutex
	network  Network                // that follow reads, nil before
	device   netwatch.Limits        // what can concern the device
	nextHops map[netip.Addr]nextHop // of each hop that is tried or in use
	conns    []*ws.Conn             // of the session; none while there is none
	past     status.Traffic         // of connections that were among conns
	end      func()                 // ends the attempt, nil while there is none
	since    time.Time              // when the attempt, or the pause, began
	stage    int                    // counts attempts, connections and pauses
	// why the monitor ended the connection or the attempt, nil if it did not
	why error

	probeDevice, probePaths bool // these have changed
	unsettled               bool // the device must be checked again
	blocked                 bool // the device cannot be configured for now
}

// A nextHop is how packets leave this machine towards a port of a server; without a Dev it is none.
type nextHop struct {
	route.NextHop
	port uint16
}

// serves reports whether packets can leave by n.
func (n nextHop) serves() bool { return n.Dev != "" && (n.Running || n.Index == 0) }

// same reports whether n and other are the same interface and gateway.
func (n nextHop) same(other nextHop) bool {
	return n.Dev == other.Dev && n.Gateway == other.Gateway
}

func newPathMonitor(c *Client) *pathMonitor {
	own := 0
	if link, err := net.InterfaceByName(c.Device.Name()); err == nil {
		own = link.Index
	}
	m := &pathMonitor{
		host: c.Host, keeper: keep.New(c.Host, own, c.Log), own: own, log: c.Log,
		moved: make(chan struct{}, 1),
		lost:  func(error) {},
	}
	m.holds()
	return m
}

// begin starts another stage. The caller holds mu.
func (m *pathMonitor) begin(conns []*ws.Conn, end func()) {
	for _, conn := range m.conns {
		m.past.Add(status.TrafficOf(conn.Wire()))
	}
	m.conns, m.end, m.since, m.why = conns, end, time.Now(), nil
	m.stage++
	m.limit()
}

// dialling records that an attempt begins; end ends it.
func (m *pathMonitor) dialling(end func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nextHops = map[netip.Addr]nextHop{}
	m.begin(nil, end)
	select {
	case <-m.moved:
	default:
	}
}

// try prepares the path to a hop that is about to be dialled. noRoute means that the look-up found
// no route. The dial may succeed nevertheless: rules may match on the connection's source port or
// address, which the look-up does not have.
func (m *pathMonitor) try(ctx context.Context, hop netip.AddrPort) (noRoute, err error) {
	now, err := m.findNextHop(ctx, hop)
	if errors.Is(err, route.ErrNoRoute) {
		// The only route leads into the tunnel.
		if _, again := m.host.NextHop(ctx, hop); errors.Is(again, route.ErrNoRoute) {
			noRoute, err = err, nil
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nextHops[hop.Addr()] = now
	return noRoute, err
}

// connected records the connection, to one of the hops that were tried.
func (m *pathMonitor) connected(conn *ws.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nextHops = map[netip.Addr]nextHop{conn.Hop(): m.nextHops[conn.Hop()]}
	m.begin([]*ws.Conn{conn}, nil)
}

// joined records another connection of the session, to the same hop.
func (m *pathMonitor) joined(conn *ws.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns = append(m.conns, conn)
	if m.why != nil { // as the others
		conn.Cut()
	}
}

// left records that one of several connections has ended; pause records the end of the last.
func (m *pathMonitor) left(conn *ws.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.conns) > 1 {
		m.past.Add(status.TrafficOf(conn.Wire()))
		m.conns = slices.DeleteFunc(slices.Clone(m.conns),
			func(c *ws.Conn) bool { return c == conn })
	}
}

// pause records that there is neither a connection nor an attempt. It returns the reason if the
// monitor ended the last one, else err.
func (m *pathMonitor) pause(err error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.why != nil {
		err = m.why
	}
	m.begin(nil, nil)
	return err
}

// findNextHop refreshes the bypass to a hop and returns its next hop. It returns an error if there
// is no route or the bypass cannot be made; the result is then none.
func (m *pathMonitor) findNextHop(ctx context.Context, hop netip.AddrPort) (nextHop, error) {
	none := nextHop{port: hop.Port()}
	if zone := hop.Addr().Zone(); zone != "" { // a link-local address: its zone is the link
		now := nextHop{route.NextHop{Dev: zone}, hop.Port()}
		if link, err := net.InterfaceByName(zone); err == nil {
			now.Index, now.Running = link.Index, link.Flags&net.FlagRunning != 0
		}
		return now, nil
	}
	if err := m.host.Bypass(ctx, hop); err != nil {
		return none, err
	}
	found, err := m.host.NextHop(ctx, hop)
	if err != nil {
		return none, err
	}
	return nextHop{found, hop.Port()}, nil
}

// follow reads the events of network until ctx ends, and checks the device and the next hops after
// events that may concern them. It closes network.
func (m *pathMonitor) follow(ctx context.Context, network Network) {
	m.mu.Lock()
	m.network = network
	m.limit()
	m.mu.Unlock()
	keep.Follow(ctx, network, m.concerns, func() bool { return m.probe(ctx) }, func(err error) {
		m.log.Warn("the network is not watched any more", "err", err)
	})
}

// concerns reports whether e may concern the device or the path to the server.
func (m *pathMonitor) concerns(e netwatch.Event) bool {
	device := m.keeper.Concerns(e)
	m.mu.Lock()
	defer m.mu.Unlock()
	paths := m.leads(e)
	m.probeDevice, m.probePaths = m.probeDevice || device, m.probePaths || paths
	return device || paths
}

// leads reports whether e may concern the path to the server: a route or rule that may apply to it,
// the local address of a connection, or the outgoing interface. The caller holds mu.
func (m *pathMonitor) leads(e netwatch.Event) bool {
	if e.Kind == netwatch.File || e.Kind == netwatch.Forwarding ||
		e.Kind != netwatch.Route && e.Link != 0 && e.Link == m.own {
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
				func(c *ws.Conn) bool { return c.Local() == e.Prefix.Addr() }) {
			return true
		}
	}
	return false
}

// probe checks what has changed. It returns false if it must be called again after a pause.
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

// checkDevice restores the device's configuration, and ends a connection that cannot use the
// device.
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
	case errors.Is(err, route.ErrOverlap), errors.Is(err, route.ErrNotUsed):
		// the end of the overlap is another event
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

// probeNextHops looks up the next hops, and ends what uses one that has changed.
func (m *pathMonitor) probeNextHops(ctx context.Context) {
	m.mu.Lock()
	stage, conns := m.stage, slices.Clone(m.conns)
	hops := make([]netip.AddrPort, 0, len(m.nextHops))
	for hop, known := range m.nextHops {
		hops = append(hops, netip.AddrPortFrom(hop, known.port))
	}
	m.mu.Unlock()
	now := map[netip.Addr]nextHop{}
	for _, hop := range hops {
		found, err := m.findNextHop(ctx, hop)
		if err != nil {
			m.log.Debug("no path to the server", "hop", hop, "err", err)
		}
		now[hop.Addr()] = found
	}
	connected := len(conns) > 0
	held := !slices.ContainsFunc(conns,
		func(c *ws.Conn) bool { return !keep.HasAddress(c.Local()) })

	m.mu.Lock()
	defer m.mu.Unlock()
	if stage != m.stage { // another stage has begun, with a look-up of its own
		return
	}
	change := len(hops) == 0 && time.Since(m.since) > blind
	for hop, found := range now {
		switch known := m.nextHops[hop]; {
		case !found.serves():
			if !connected {
				m.nextHops[hop] = found
			}
			// A connection keeps its path: if the same path comes back, the connection goes on.
		case !found.same(known), !held, !connected && !known.serves():
			m.nextHops[hop] = found
			change = true
		}
	}
	if change {
		m.limit()
	}
	if !change || m.why != nil {
		return
	}
	m.log.Info("the path to the server has changed", "stage",
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
