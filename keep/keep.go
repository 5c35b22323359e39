// Package keep holds the tunnel's device to what it was given: when something else on this machine
// changes its addresses or routes they are restored, and when the network of the tunnel turns out
// to be this machine's own they are withdrawn until it no longer is.
package keep

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"tunnel/host"
	"tunnel/netwatch"
	"tunnel/route"
)

// Router is the part of a *host.Host, or of what stands for one in another process, that a Keeper
// needs.
type Router interface {
	Overlap(ctx context.Context, networks ...netip.Prefix) error
	Apply(ctx context.Context, w host.Want) error
	Withdraw(ctx context.Context) error
}

// Keeper holds one device to one Want. Its methods are safe for concurrent use.
type Keeper struct {
	router Router
	log    *slog.Logger
	device int // its index, 0 if not known

	mu        sync.Mutex
	want      host.Want // guarded by mu, as all below; zero before Set
	withdrawn error     // why the device has nothing of it; nil if it has
}

// New returns a Keeper of the device of that index that wants nothing yet.
func New(router Router, device int, log *slog.Logger) *Keeper {
	return &Keeper{router: router, device: device, log: log}
}

// Set gives the device what w says, see host.Host.Apply, unless the network overlaps this
// machine's, which is a route.ErrOverlap and leaves the device as it is. From then on it is held to
// w.
func (k *Keeper) Set(ctx context.Context, w host.Want) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.router.Overlap(ctx, w.Networks()...); err != nil {
		return err
	}
	if err := k.router.Apply(ctx, w); err != nil {
		return err
	}
	k.want, k.withdrawn = w, nil
	return nil
}

// Has reports whether the device has what w says, as far as this Keeper knows.
func (k *Keeper) Has(w host.Want) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.want.Equal(w) && k.withdrawn == nil
}

// Concerns reports whether e may be about the device, or about another way for packets of its
// network.
func (k *Keeper) Concerns(e netwatch.Event) bool {
	k.mu.Lock()
	networks := k.want.Networks()
	k.mu.Unlock()
	inside := func(a netip.Addr) bool {
		return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
	}
	overlaps := slices.ContainsFunc(networks, e.Prefix.Overlaps)
	switch {
	case len(networks) == 0:
		return false
	case e.Kind == netwatch.Missed, e.Kind == netwatch.File, k.device != 0 && e.Link == k.device:
		return true
	case e.Kind == netwatch.Link || e.Family == netwatch.IPv6:
		return false
	case !e.Prefix.IsValid(): // a rule, or a nexthop object
		return true
	case e.Kind == netwatch.Address:
		return inside(e.Prefix.Addr()) || overlaps
	}
	// A default route is no overlap, but one of another table attracts what a rule leads there.
	elsewhere := e.Table != 0 && e.Table != unix.RT_TABLE_MAIN
	return (e.Prefix.Bits() > 1 || elsewhere) && overlaps || inside(e.Via)
}

// Check compares this machine with what is wanted and makes it so. The error is a route.ErrOverlap
// while all is withdrawn, Fatal if there is no point in going on, and else something that may be
// gone when Check is called again.
func (k *Keeper) Check(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.want.IsZero() {
		return nil
	}
	err := k.router.Overlap(ctx, k.want.Networks()...)
	switch {
	case errors.Is(err, route.ErrOverlap) && k.withdrawn == nil:
		k.log.WarnContext(ctx, "address and route withdrawn: this machine has the network elsewhere "+
			"now; they are restored when it no longer has",
			"dev", k.want.Dev, "why", err)
		if failed := k.router.Withdraw(ctx); failed != nil {
			return failed
		}
		k.withdrawn = err
		return err
	case err != nil:
		return err
	}
	if err := k.router.Apply(ctx, k.want); err != nil {
		return err
	}
	if k.withdrawn != nil {
		k.log.InfoContext(ctx, "address and route are back", "dev", k.want.Dev,
			"network", k.want.Networks())
	}
	k.withdrawn = nil
	return nil
}

// Fatal reports whether the device is lost for good: it is gone, or another program fights for it.
func Fatal(err error) bool {
	return errors.Is(err, host.ErrGone) || errors.Is(err, host.ErrContested)
}
