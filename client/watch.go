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

// errMoved says that packets would take another way to the server now than the connection, or the
// attempt at one, does.
var errMoved = errors.New("this machine's way to the server has changed")

const (
	// blind is how old an attempt must be that knows no way yet, because no name resolves, to begin
	// anew on any change.
	blind = time.Second
)

// A watch knows by which way packets get to the server, and ends the connection, the attempt or the
// pause before the next one when there is another.
type watch struct {
	host   Host
	keeper *keep.Keeper
	own    int // index of the tunnel's device, 0 if not known
	log    *slog.Logger
	lost   func(error)   // ends the client; set before follow
	moved  chan struct{} // holds one token when a pause shall end

	mu      sync.Mutex
	network Network            // that follow reads, nil before
	device  netwatch.Limits    // what can concern the device
	ways    map[netip.Addr]way // of each hop that was tried last, or is in use
	conns   []*transport.Conn  // of the session; none while there is none
	end     func()             // ends the attempt, nil while there is none
	since   time.Time          // when the attempt, or the pause, began
	stage   int                // counts attempts, connections and pauses
	why     error              // why the connection or the attempt was ended here, nil if it was not

	lookDevice, lookWays bool // there was a change of these
	unsettled            bool // the device is to be looked at again
	blocked              bool // the device cannot be what it was given, for now
}

// A way is the next hop towards a server; the zero value is none.
type way struct{ route.Way }

// serves tells whether packets may get through.
func (w way) serves() bool { return w.Dev != "" && (w.Running || w.Index == 0) }

// same tells whether a packet leaves this machine as by other.
func (w way) same(other way) bool { return w.Dev == other.Dev && w.Gateway == other.Gateway }

func newWatch(c *Client) *watch {
	own := 0
	if link, err := net.InterfaceByName(c.Device.Name()); err == nil {
		own = link.Index
	}
	w := &watch{
		host: c.Host, keeper: keep.New(c.Host, own, c.Log), own: own, log: c.Log,
		moved: make(chan struct{}, 1),
		lost:  func(error) {},
	}
	w.holds()
	return w
}

// begin is the beginning of another stage. The caller holds mu.
func (w *watch) begin(conns []*transport.Conn, end func()) {
	w.conns, w.end, w.since, w.why = conns, end, time.Now(), nil
	w.stage++
	w.limit()
}

// limit tells the network what can concern this client: everything while paths are looked for. The
// caller holds mu.
func (w *watch) limit() {
	if w.network == nil {
		return
	}
	var limits *netwatch.Limits
	if w.end == nil && len(w.ways) > 0 {
		own := netwatch.Limits{
			Networks: w.device.Networks, Hosts: slices.Clone(w.device.Hosts),
			Links: slices.Clone(w.device.Links),
		}
		for hop, known := range w.ways {
			own.Hosts = append(own.Hosts, hop.WithZone(""))
			if known.Gateway.IsValid() {
				own.Hosts = append(own.Hosts, known.Gateway.WithZone(""))
			}
			if known.Dev != "" {
				own.Links = append(own.Links, known.Index)
			}
		}
		for _, conn := range w.conns {
			own.Hosts = append(own.Hosts, conn.Local().WithZone(""))
		}
		limits = &own
	}
	if err := w.network.Limit(limits); err != nil {
		w.log.Debug("this machine is watched as a whole", "err", err)
	}
}

// holds says that the keeper has another Want.
func (w *watch) holds() {
	device := w.keeper.Limits()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.device = device
	w.limit()
}

// dialling says that an attempt begins, which end would end.
func (w *watch) dialling(end func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ways = map[netip.Addr]way{}
	w.begin(nil, end)
	select {
	case <-w.moved:
	default:
	}
}

// try makes the way to a hop that is about to be tried. noWay is that the look-up alone knows none:
// rules may tell packets of the connection by what the look-up does not say, its port or its source
// address, so that it is worth trying.
func (w *watch) try(ctx context.Context, hop netip.Addr) (noWay, err error) {
	now, err := w.find(ctx, hop)
	if errors.Is(err, route.ErrNoRoute) {
		// A way that leads into the tunnel is known, and none for the server.
		if _, again := w.host.Way(ctx, hop); errors.Is(again, route.ErrNoRoute) {
			noWay, err = err, nil
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ways[hop] = now
	return noWay, err
}

// connected says that there is a connection, to one of the hops that were tried.
func (w *watch) connected(conn *transport.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ways = map[netip.Addr]way{conn.Hop(): w.ways[conn.Hop()]}
	w.begin([]*transport.Conn{conn}, nil)
}

// joined says that the session has another connection, to the same hop.
func (w *watch) joined(conn *transport.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, conn)
	if w.why != nil { // as the others
		conn.Cut()
	}
}

// left says that one of several connections has ended; the end of the last is for pause.
func (w *watch) left(conn *transport.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.conns) > 1 {
		w.conns = slices.DeleteFunc(slices.Clone(w.conns),
			func(c *transport.Conn) bool { return c == conn })
	}
}

// pause says that there is neither a connection nor an attempt at one, and returns why if that is
// this watch's doing, else err.
func (w *watch) pause(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.why != nil {
		err = w.why
	}
	w.begin(nil, nil)
	return err
}

// find refreshes the bypass to a hop and returns the way to it; the error is that there is none, or
// that it could not be made.
func (w *watch) find(ctx context.Context, hop netip.Addr) (way, error) {
	if zone := hop.Zone(); zone != "" { // a link-local address: it is on the link that it names
		now := way{route.Way{Dev: zone}}
		if link, err := net.InterfaceByName(zone); err == nil {
			now.Index, now.Running = link.Index, link.Flags&net.FlagRunning != 0
		}
		return now, nil
	}
	if err := w.host.Bypass(ctx, hop); err != nil {
		return way{}, err
	}
	found, err := w.host.Way(ctx, hop)
	if err != nil {
		return way{}, err
	}
	return way{found}, nil
}

// follow reads what network has to tell until it is closed, and looks at the device and at the ways
// when that may concern them, until ctx ends. It closes network.
func (w *watch) follow(ctx context.Context, network Network) {
	w.mu.Lock()
	w.network = network
	w.limit()
	w.mu.Unlock()
	keep.Follow(ctx, network, w.concerns, func() bool { return w.look(ctx) }, func(err error) {
		w.log.Warn("the network is not watched any more", "err", err)
	})
}

// concerns reports whether a change may be one of the device, or of the way to the server.
func (w *watch) concerns(e netwatch.Event) bool {
	device := w.keeper.Concerns(e)
	w.mu.Lock()
	defer w.mu.Unlock()
	ways := w.leads(e)
	w.lookDevice, w.lookWays = w.lookDevice || device, w.lookWays || ways
	return device || ways
}

// leads reports whether a change may be one of the way to the server: a route or rule that may
// decide about it, the address that a connection has, or the interface that leads there. The caller
// holds mu.
func (w *watch) leads(e netwatch.Event) bool {
	if e.Kind == netwatch.File || e.Kind != netwatch.Route && e.Link != 0 && e.Link == w.own {
		return false
	}
	if e.Kind == netwatch.Missed || len(w.ways) == 0 {
		return e.Kind != netwatch.Link
	}
	for hop, known := range w.ways {
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
			slices.ContainsFunc(w.conns,
				func(c *transport.Conn) bool { return c.Local() == e.Prefix.Addr() }) {
			return true
		}
	}
	return false
}

// look looks at what has changed; false is that it is to be called again after a while.
func (w *watch) look(ctx context.Context) bool {
	w.mu.Lock()
	device, ways := w.lookDevice || w.unsettled, w.lookWays
	w.lookDevice, w.lookWays = false, false
	w.mu.Unlock()
	done := true
	if device {
		done = w.checkDevice(ctx)
	}
	if ways {
		w.check(ctx)
	}
	return done
}

// checkDevice has the device be what it was given, and ends a connection that can do nothing with
// it.
func (w *watch) checkDevice(ctx context.Context) bool {
	err := w.keeper.Check(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unsettled = false
	switch {
	case ctx.Err() != nil:
	case err == nil:
		if w.blocked {
			w.blocked = false
			w.wake()
		}
	case keep.Fatal(err):
		w.lost(err)
	case errors.Is(err, route.ErrOverlap), errors.Is(err, host.ErrNotUsed):
		// what ends it is an event of its own
		w.blocked = true
		if len(w.conns) > 0 && w.why == nil {
			w.cut(err)
		}
	default:
		w.log.Warn("the device is not as it should be", "err", err)
		w.unsettled = true
	}
	return !w.unsettled
}

// cut ends the connections of the session. The caller holds mu.
func (w *watch) cut(why error) {
	w.why = why
	for _, conn := range w.conns {
		conn.Cut()
	}
}

// wake ends a pause. The caller holds mu.
func (w *watch) wake() {
	select {
	case w.moved <- struct{}{}:
	default:
	}
}

// check looks at the ways, and acts when one has changed.
func (w *watch) check(ctx context.Context) {
	w.mu.Lock()
	stage, conns := w.stage, slices.Clone(w.conns)
	hops := make([]netip.Addr, 0, len(w.ways))
	for hop := range w.ways {
		hops = append(hops, hop)
	}
	w.mu.Unlock()
	now := map[netip.Addr]way{}
	for _, hop := range hops {
		found, err := w.find(ctx, hop)
		if err != nil {
			w.log.Debug("no way to the server", "hop", hop, "err", err)
		}
		now[hop] = found
	}
	connected := len(conns) > 0
	held := !slices.ContainsFunc(conns,
		func(c *transport.Conn) bool { return !hasAddress(c.Local()) })

	w.mu.Lock()
	defer w.mu.Unlock()
	if stage != w.stage { // what was looked at is over, and what has begun has had its own look
		return
	}
	change := len(hops) == 0 && time.Since(w.since) > blind
	for hop, found := range now {
		switch known := w.ways[hop]; {
		case !found.serves():
			if !connected {
				w.ways[hop] = found
			}
			// A connection keeps the way that it had: when the same comes back it goes on.
		case !found.same(known), !held, !connected && !known.serves():
			w.ways[hop] = found
			change = true
		}
	}
	if change {
		w.limit()
	}
	if !change || w.why != nil {
		return
	}
	w.log.Info("the way to the server has changed", "stage",
		map[bool]string{true: "connected", false: "not connected"}[connected])
	switch {
	case connected:
		w.cut(errMoved)
	case w.end != nil:
		w.why = errMoved
		w.end()
	default:
		w.wake()
	}
}

// hasAddress tells whether this machine has an address; it is assumed when it cannot be found out.
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
