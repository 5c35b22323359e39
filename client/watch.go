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

	"tunnel/netwatch"
	"tunnel/route"
	"tunnel/transport"
)

// Network tells when this machine's network changes, as netwatch.Watcher does.
type Network interface {
	Next() (netwatch.Event, error)
	Close() error
}

// errMoved says that packets would take another way to the server now than the connection, or the attempt at one, does.
var errMoved = errors.New("this machine's way to the server has changed")

const (
	// settle is how long after a change others are awaited: they come in bursts.
	settle = 50 * time.Millisecond
	// calm is the least time between two looks at the ways, each of which takes a few commands.
	calm = 200 * time.Millisecond
	// blind is how old an attempt must be that knows no way yet, because no name resolves, to begin anew on any change.
	blind = time.Second
)

// A watch knows by which way packets get to the server, and ends the connection, the attempt or the pause before the next
// one when there is another.
type watch struct {
	router Router
	own    string // the tunnel's device
	log    *slog.Logger
	moved  chan struct{} // holds one token when a pause shall end

	mu    sync.Mutex
	ways  map[netip.Addr]way // of each hop that was tried last, or is in use
	conns []*transport.Conn  // of the session; none while there is none
	end   func()             // ends the attempt, nil while there is none
	since time.Time          // when the attempt, or the pause, began
	stage int                // counts attempts, connections and pauses
	ended bool               // the connection or the attempt was ended here
}

// A way is the next hop towards a server; the zero value is none.
type way struct {
	route.Way

	index   int // of Dev, 0 if not known
	running bool
}

// serves tells whether packets may get through.
func (w way) serves() bool { return w.Dev != "" && w.running }

// same tells whether a packet leaves this machine as by other.
func (w way) same(other way) bool { return w.Way == other.Way }

func newWatch(c *Client) *watch {
	return &watch{router: c.Router, own: c.Device.Name(), log: c.Log, moved: make(chan struct{}, 1)}
}

// begin is the beginning of another stage. The caller holds mu.
func (w *watch) begin(conns []*transport.Conn, end func()) {
	w.conns, w.end, w.since, w.ended = conns, end, time.Now(), false
	w.stage++
}

// dialling says that an attempt begins, which end would end.
func (w *watch) dialling(end func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin(nil, end)
	w.ways = map[netip.Addr]way{}
	select {
	case <-w.moved:
	default:
	}
}

// try makes the way to a hop that is about to be tried.
func (w *watch) try(ctx context.Context, hop netip.Addr) error {
	now, err := w.look(ctx, hop)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ways[hop] = now
	return err
}

// connected says that there is a connection, to one of the hops that were tried.
func (w *watch) connected(conn *transport.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin([]*transport.Conn{conn}, nil)
	w.ways = map[netip.Addr]way{conn.Hop(): w.ways[conn.Hop()]}
}

// joined says that the session has another connection, to the same hop.
func (w *watch) joined(conn *transport.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, conn)
	if w.ended { // as the others
		conn.Cut()
	}
}

// left says that one of several connections has ended; the end of the last is for pause.
func (w *watch) left(conn *transport.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.conns) > 1 {
		w.conns = slices.DeleteFunc(slices.Clone(w.conns), func(c *transport.Conn) bool { return c == conn })
	}
}

// pause says that there is neither a connection nor an attempt at one, and returns errMoved if that is this watch's doing,
// else err.
func (w *watch) pause(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		err = errMoved
	}
	w.begin(nil, nil)
	return err
}

// look refreshes the bypass to a hop and returns the way to it; the error is that there is none, or that it could not be
// made.
func (w *watch) look(ctx context.Context, hop netip.Addr) (way, error) {
	if err := w.router.Bypass(ctx, hop); err != nil {
		return way{}, err
	}
	found, err := w.router.Way(ctx, hop)
	if err != nil {
		return way{}, err
	}
	now := way{Way: found, running: true}
	if card, err := net.InterfaceByName(found.Dev); err == nil {
		now.index, now.running = card.Index, card.Flags&net.FlagRunning != 0
	}
	return now, nil
}

// follow reads what network has to tell until it is closed, and looks at the ways when that may concern them, until ctx
// ends. It closes network.
func (w *watch) follow(ctx context.Context, network Network) {
	changed := make(chan struct{}, 1)
	var reader sync.WaitGroup
	defer reader.Wait()
	reader.Go(func() {
		for {
			e, err := network.Next()
			if err != nil {
				if ctx.Err() == nil {
					w.log.Warn("the network is not watched any more", "err", err)
				}
				return
			}
			if !w.concerns(e) {
				continue
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	})
	defer func() { _ = network.Close() }()
	for pause := settle; ; pause = calm {
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		select { // what came meanwhile is in what is seen now
		case <-changed:
		default:
		}
		w.check(ctx)
	}
}

// concerns tells whether a change may be one of the way to the server: an address or route of its family, or the card
// that leads to it.
func (w *watch) concerns(e netwatch.Event) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.Link != 0 {
		if own, err := net.InterfaceByName(w.own); err == nil && own.Index == e.Link {
			return false
		}
	}
	if e.Kind == netwatch.Missed || len(w.ways) == 0 {
		return e.Kind != netwatch.Link
	}
	for hop, known := range w.ways {
		family := netwatch.IPv6
		if hop.Is4() {
			family = netwatch.IPv4
		}
		if e.Kind == netwatch.Link && (e.Link == known.index || known.index == 0 && known.Dev != "") ||
			e.Kind != netwatch.Link && e.Family == family {
			return true
		}
	}
	return false
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
		found, err := w.look(ctx, hop)
		if err != nil {
			w.log.Debug("no way to the server", "hop", hop, "err", err)
		}
		now[hop] = found
	}
	connected := len(conns) > 0
	held := !slices.ContainsFunc(conns, func(c *transport.Conn) bool { return !hasAddress(c.Local()) })

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
	if !change || w.ended {
		return
	}
	w.log.Info("the way to the server has changed", "stage", map[bool]string{true: "connected", false: "not connected"}[connected])
	switch {
	case connected:
		w.ended = true
		for _, conn := range w.conns {
			conn.Cut()
		}
	case w.end != nil:
		w.ended = true
		w.end()
	default:
		select {
		case w.moved <- struct{}{}:
		default:
		}
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
