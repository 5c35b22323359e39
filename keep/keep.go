// Package keep maintains the addresses and routes of the tunnel's device. If another program
// changes them they are restored. While this machine reaches the tunnel's network by another
// interface they are withdrawn.
package keep

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"tunnel/dns"
	"tunnel/host"
	"tunnel/netwatch"
	"tunnel/route"
	"tunnel/rtnl"
)

// Router is what a Keeper needs of a *host.Host, or of a proxy for one in another process.
type Router interface {
	Overlap(ctx context.Context, networks ...netip.Prefix) error
	Apply(ctx context.Context, w host.Want) error
	Withdraw(ctx context.Context) error
}

// Keeper maintains one Want on one device. Its methods may be called concurrently.
type Keeper struct {
	router Router
	log    *slog.Logger
	device int // its index, 0 if not known

	// NamesSet is called when the DNS settings of SetMore that are used have changed, or why they
	// cannot be used; nil for nobody. It must not call the Keeper. Set before use.
	NamesSet func(dns.Config, error)
	// RoutesSet is called with the networks of SetMore that are routed into the tunnel, when these
	// change and before they do; nil for nobody. It must not call the Keeper. Set before use.
	RoutesSet func([]netip.Prefix)
	// ExceptSet is called with the public networks that stay outside a full tunnel, when these have
	// changed; nil for nobody. It must not call the Keeper. Set before use.
	ExceptSet func([]netip.Prefix)
	// Look is how they are found: New has it ask the kernel. Set before use.
	Look rtnl.Lookup

	mu        sync.Mutex
	want      host.Want    // guarded by mu, as all below; zero before Set
	withdrawn error        // why it is withdrawn, nil if it is not
	more      []host.Route // of SetMore
	names     dns.Config   // the same
	// of more, those that are left out because they overlap, and why
	left map[netip.Prefix]error
	led  []netip.Prefix // of more, those that are not left out
	// the networks that ExceptSet was called with last
	excepted []netip.Prefix
	// the tunnel's DNS servers that this machine uses
	resolving []netip.Addr
	// what NamesSet was called with last
	told  dns.Config
	wrong string
}

// New returns a Keeper of the device with that interface index, which maintains nothing before Set.
func New(router Router, device int, log *slog.Logger) *Keeper {
	return &Keeper{router: router, device: device, log: log, Look: rtnl.Kernel{}}
}

// Set applies w to the device, see host.Host.Apply, and maintains it from then on. If the network
// overlaps one of this machine's, Set changes nothing and returns a route.ErrOverlap. What SetMore
// has set stays if w is what was set before, and is removed otherwise.
func (k *Keeper) Set(ctx context.Context, w host.Want) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	more, names := k.more, k.names
	if !w.Equal(k.want) {
		more, names = nil, dns.Config{}
	}
	if err := k.apply(ctx, w, more, names); err != nil {
		return err
	}
	k.want, k.more, k.names, k.withdrawn = w, more, names, nil
	return nil
}

// Has reports whether w was set and is not withdrawn.
func (k *Keeper) Has(w host.Want) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.want.Equal(w) && k.withdrawn == nil
}

// Concerns reports whether e may change the device, or another route to its network.
func (k *Keeper) Concerns(e netwatch.Event) bool {
	k.mu.Lock()
	networks, forwards := with(k.want, k.more).Networks(), len(k.want.Sysctls) > 0
	follows := k.want.LAN || k.want.Full.On
	k.mu.Unlock()
	inside := func(a netip.Addr) bool {
		return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
	}
	overlaps := slices.ContainsFunc(networks, e.Prefix.Overlaps)
	switch {
	case e.Kind == netwatch.Forwarding:
		return forwards
	case follows && concernsAll(e):
		return true
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
	// A default route in the main table is no overlap; one in another table may be, by a rule.
	elsewhere := e.Table != 0 && e.Table != unix.RT_TABLE_MAIN
	return (e.Prefix.Bits() > 1 || elsewhere) && overlaps || inside(e.Via)
}

// concernsAll reports whether e may change what all traffic of this machine takes, or its LAN.
func concernsAll(e netwatch.Event) bool {
	switch e.Kind {
	case netwatch.Address, netwatch.Link, netwatch.Missed:
		return true
	case netwatch.Route: // a rule, or a route of the full tunnel's own
		return !e.Prefix.IsValid() || e.Table == route.Mark || e.Prefix.Bits() == 1
	}
	return false
}

// Limits returns what can concern this device, as far as it can be told beforehand.
func (k *Keeper) Limits() netwatch.Limits {
	k.mu.Lock()
	defer k.mu.Unlock()
	limits := netwatch.Limits{Networks: with(k.want, k.more).Networks(),
		Links: []int{cmp.Or(k.device, -1)}}
	if k.want.LAN || k.want.Full.On {
		limits.Links = []int{0} // any
	}
	return limits
}

// Check restores what differs from the Want, or withdraws it on an overlap. The error is a
// route.ErrOverlap while the Want is withdrawn, or Fatal if the device is lost; any other error may
// be temporary, so that Check may be called again.
func (k *Keeper) Check(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.want.IsZero() {
		return nil
	}
	err := k.apply(ctx, k.want, k.more, k.names)
	switch {
	case errors.Is(err, route.ErrOverlap) && k.withdrawn != nil:
		if failed := k.withdrawAgain(ctx); failed != nil {
			return failed
		}
		return err
	case errors.Is(err, route.ErrOverlap):
		k.log.WarnContext(ctx, "address and route withdrawn: this machine has the network elsewhere "+
			"now; they are restored when it no longer has",
			"dev", k.want.Dev, "why", err)
		if failed := k.router.Withdraw(ctx); failed != nil {
			return failed
		}
		k.leads(nil)
		k.resolving = nil
		k.withdrawn = err
		return err
	case err != nil:
		return err
	}
	if k.withdrawn != nil {
		k.log.InfoContext(ctx, "address and route are back", "dev", k.want.Dev,
			"network", k.want.Networks())
	}
	k.withdrawn = nil
	return nil
}

// Fatal reports whether the device is lost for good: it is gone, or another program keeps changing
// it.
func Fatal(err error) bool {
	return errors.Is(err, host.ErrGone) || errors.Is(err, host.ErrContested)
}
