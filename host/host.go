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
	"slices"
	"sync"
	"time"

	"tunnel/cmdrun"
	"tunnel/rtnl"
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
	// Resolvers returns this machine's DNS servers, which Overlap then counts as its addresses; nil is that it does not. Set
	// before use.
	Resolvers func() ([]netip.Addr, error)

	run     cmdrun.Runner
	look    Lookup   // nil is none: then what was added counts as there
	dry     bool     // run changes nothing, so that look does not see it
	journal *Journal // owned
	log     *slog.Logger

	mu       sync.Mutex
	link     link                      // guarded by mu, as all below; what the last LinkUp that succeeded was given, or zero
	added    []entry                   // what was added, or may have been, oldest first
	beside   map[netip.Addr]rtnl.Route // by server: the kernel's decision that no bypass changes, or that takes none
	held     Config                    // what the last Set that succeeded was given; zero since Withdraw
	restored []time.Time               // when something had to be restored, or could not be, of late
	closed   bool
}

type link struct {
	dev       string
	mtu, qlen int
	index     int // 0 if not known
}

// closeTimeout bounds Close: long enough for a busy machine, since what Close leaves only a later run removes.
const closeTimeout = 5 * time.Second

// New returns a Router that makes changes with run and looks at the kernel by look, which may be nil in a dry run. It takes over
// the journal, which must be healed and may be nil; a nil log is silent.
func New(run cmdrun.Runner, look Lookup, journal *Journal, log *slog.Logger) *Router {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	_, dry := run.(cmdrun.DryRun)
	return &Router{run: run, look: look, dry: dry, journal: journal, log: log, beside: map[netip.Addr]rtnl.Route{}}
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
	if cmdrun.Uncertain(err) && r.mayBeThere(e) {
		return err // and Close removes it
	}
	return errors.Join(err, r.forget(e))
}

// mayBeThere reports whether an addition that was cut short by the end of its context may have been made nevertheless.
func (r *Router) mayBeThere(e entry) bool {
	if r.look == nil {
		return true
	}
	there, _, err := find(r.look, e)
	return there || err != nil
}

// remove undoes e, unless it is gone. The caller holds mu.
func (r *Router) remove(ctx context.Context, e entry) error {
	if r.look != nil { // a dry run added nothing
		if _, err := undo(ctx, r.run, r.look, e); err != nil {
			return err
		}
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

// index returns the index of the tunnel's own device, 0 if it is not known. The caller holds mu.
func (r *Router) index() int {
	if r.link.index != 0 || r.look == nil || r.device() == "" {
		return r.link.index
	}
	own, err := r.look.LinkByName(r.device())
	if err != nil {
		return 0
	}
	return own.Index
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
