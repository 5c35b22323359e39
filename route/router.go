// Package route makes the kernel's addresses and routes match a Config, keeps the way to the server outside the tunnel,
// and undoes all of it. It notes every change in a Journal before it makes it, so that a killed run's leftovers are
// found, and it never removes what this program did not add.
package route

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"tunnel/ipcmd"
)

// Config is what the kernel shall have on the tunnel's device.
type Config struct {
	Dev         string
	MTU         int // bytes, 68 to 65535
	Qlen        int // packets, at least 1
	Local, Peer netip.Addr
	Network     netip.Prefix // routed through Peer; bits behind the prefix do not matter
}

func (c Config) check() error {
	switch {
	case checkDev(c.Dev) != nil:
		return checkDev(c.Dev)
	case c.MTU < 68 || c.MTU > 65535:
		return fmt.Errorf("mtu %d is not 68 to 65535", c.MTU)
	case c.Qlen < 1:
		return fmt.Errorf("qlen %d is not positive", c.Qlen)
	case !c.Local.Is4() || !c.Peer.Is4():
		return fmt.Errorf("%s and %s are not an IPv4 pair", c.Local, c.Peer)
	case !c.Network.IsValid() || !c.Network.Addr().Is4():
		return fmt.Errorf("%s is not an IPv4 network", c.Network)
	default:
		return nil
	}
}

// Router owns the addresses and routes that it adds, until Close. It is safe for concurrent use.
type Router struct {
	run     ipcmd.Runner
	journal *Journal // owned
	log     *slog.Logger

	mu     sync.Mutex
	config Config  // guarded by mu, as all below; what the last Set finished, or zero
	link   link    // what the last LinkUp that succeeded was given, or zero
	added  []entry // what was added, or may have been, oldest first
	closed bool
}

type link struct {
	dev       string
	mtu, qlen int
	index     int // 0 if not known
}

// closeTimeout bounds Close: long enough for a busy machine, since what Close leaves only a later run removes.
const closeTimeout = 5 * time.Second

// New returns a Router that makes changes with run. It takes over the journal, which must be healed and may be nil; a
// nil log is silent.
func New(run ipcmd.Runner, journal *Journal, log *slog.Logger) *Router {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Router{run: run, journal: journal, log: log}
}

// Set gives the device of c its link settings, its addresses and its route, in this order, and takes away before what
// an earlier Set gave and c does not say. Given the same Config again it runs nothing. After a failure what was done
// stays until the next Set, which goes on from there, or Close. A failed command is an *ipcmd.Error.
func (r *Router) Set(ctx context.Context, c Config) error {
	if err := c.check(); err != nil {
		return fmt.Errorf("set addresses and routes: %w", err)
	}
	if r.journal != nil && r.journal.dev != c.Dev {
		return fmt.Errorf("set addresses and routes: the journal is that of %s, not of %s", r.journal.dev, c.Dev)
	}
	c.Network = c.Network.Masked()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return fmt.Errorf("set addresses and routes: %w", os.ErrClosed)
	case c == r.config:
		return nil
	}
	r.config = Config{}
	if err := r.removeStale(ctx, c); err != nil {
		return err
	}
	if err := r.setLink(ctx, c); err != nil {
		return err
	}
	addr, route := r.wanted(c)
	for _, e := range []entry{addr, route} {
		if slices.Contains(r.added, e) {
			continue
		}
		if err := r.add(ctx, e); err != nil {
			return err
		}
	}
	r.config = c
	return nil
}

// wanted returns the entries that c asks for. The caller holds mu.
func (r *Router) wanted(c Config) (addr, route entry) {
	index := 0
	if r.link.dev == c.Dev {
		index = r.link.index
	}
	return entry{Kind: kindAddr, Dev: c.Dev, Index: index, Local: c.Local, Peer: c.Peer},
		entry{Kind: kindRoute, Dev: c.Dev, Index: index, Prefix: c.Network, Via: c.Peer}
}

// removeStale removes the address and the route of an earlier Set that c does not ask for. The caller holds mu.
func (r *Router) removeStale(ctx context.Context, c Config) error {
	addr, route := r.wanted(c)
	keep := []entry{addr, route}
	if !slices.Contains(r.added, addr) {
		keep = nil // a route leans on its address: when the one goes the other goes first
	}
	for _, e := range slices.Backward(slices.Clone(r.added)) {
		if e.Kind == kindBypass || slices.Contains(keep, e) {
			continue
		}
		if err := r.remove(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// setLink sets the device up unless it is as c asks. The caller holds mu.
func (r *Router) setLink(ctx context.Context, c Config) error {
	if r.link.dev == c.Dev && r.link.mtu == c.MTU && r.link.qlen == c.Qlen {
		return nil
	}
	if _, err := r.run.Run(ctx, ipcmd.LinkUp(c.Dev, c.MTU, c.Qlen)); err != nil {
		return fmt.Errorf("set %s up: %w", c.Dev, err)
	}
	found, err := linkOf(ctx, r.run, c.Dev)
	if err != nil && !errors.Is(err, ipcmd.ErrNoLookup) {
		return fmt.Errorf("look up %s: %w", c.Dev, err)
	}
	r.link = link{dev: c.Dev, mtu: c.MTU, qlen: c.Qlen, index: found.Index}
	return nil
}

// add notes e, then adds it to the kernel. The caller holds mu.
func (r *Router) add(ctx context.Context, e entry) error {
	if err := rulesFor(r.device()).check(e); err != nil {
		return fmt.Errorf("add %s: %w", e, err)
	}
	if err := r.journal.note(e); err != nil {
		return err
	}
	r.added = append(r.added, e)
	_, err := r.run.Run(ctx, e.add())
	if err == nil {
		return nil
	}
	err = fmt.Errorf("add %s: %w", e, err)
	if ipcmd.Uncertain(err) && r.mayBeThere(ctx, e) {
		return err // and Close removes it
	}
	return errors.Join(err, r.forget(e))
}

// mayBeThere tells whether an addition that was cut short by the end of ctx was made nevertheless.
func (r *Router) mayBeThere(ctx context.Context, e entry) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	there, _, err := find(ctx, r.run, e)
	return there || err != nil
}

// remove undoes e, unless it is gone. The caller holds mu.
func (r *Router) remove(ctx context.Context, e entry) error {
	_, err := undo(ctx, r.run, e)
	if err != nil && !errors.Is(err, ipcmd.ErrNoLookup) { // a dry run added nothing
		return err
	}
	return r.forget(e)
}

// forget takes e, which is not in the kernel, from the books. The caller holds mu.
func (r *Router) forget(e entry) error {
	r.added = slices.DeleteFunc(r.added, func(other entry) bool { return other == e })
	return r.journal.drop(e)
}

// device returns the name of the tunnel's own device, or "" if it is not known yet.
func (r *Router) device() string {
	if r.journal != nil {
		return r.journal.dev
	}
	return r.link.dev
}

// Close undoes everything that this Router added and that is still there as it was added, newest first, in its own time
// of a few seconds, and closes the journal, which deletes it. What could not be undone stays noted for Cleanup. Link
// settings are not undone: the device goes with its owner. It is idempotent.
func (r *Router) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var failures []error
	for _, e := range slices.Backward(slices.Clone(r.added)) {
		if err := r.remove(ctx, e); err != nil {
			failures = append(failures, err)
		}
	}
	failures = append(failures, r.journal.Close())
	return errors.Join(failures...)
}
