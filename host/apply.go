package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/ipcmd"
	"tunnel/rtnl"
)

// Errors about a device that something else on this machine has changed.
var (
	// ErrGone says that the device was deleted or renamed, or is in another network namespace.
	ErrGone = errors.New("the device is gone")
	// ErrContested says that what Set gave the device is taken away again and again.
	ErrContested = errors.New("taken away again and again")
	// ErrNotUsed says that the kernel sends packets to the network elsewhere although the route is there.
	ErrNotUsed = errors.New("the route is not used")
)

// More than maxRestored restorations within contestTime are a contest, which no program wins.
const (
	maxRestored = 5
	contestTime = time.Minute
)

// Set gives the device of c its link settings, its addresses and its route, in this order, and takes away before what an
// earlier Set gave and c does not say. Given the same Config again it compares the kernel's state with that, and restores
// what was changed or taken away meanwhile, with a line; when all is as it was it runs nothing. When that happens again and
// again, or fails so, the error is an ErrContested, for a device that is no longer there an ErrGone, and an ErrNotUsed when
// packets do not take the route. After a failure what was done stays until the next Set, which goes on from there, or Close.
// A failed command is an *cmdrun.Error.
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
	if r.closed {
		return fmt.Errorf("set addresses and routes: %w", os.ErrClosed)
	}
	lost, err := r.set(ctx, c)
	if err != nil {
		return r.countFailure(ctx, c, err)
	}
	r.held = c
	if len(lost) > 0 {
		r.restored = append(r.restored, time.Now())
		r.log.WarnContext(ctx, "restored what something else on this machine has changed", "dev", c.Dev,
			"what", strings.Join(lost, ", "))
	}
	return r.checkUsed(c)
}

// set is Set without its books of restorations, and returns what it restored. The caller holds mu.
func (r *Router) set(ctx context.Context, c Config) (lost []string, err error) {
	if err := r.removeStale(ctx, c); err != nil {
		return nil, err
	}
	lost, err = r.setLink(ctx, c)
	if err != nil {
		return nil, err
	}
	gone, err := r.forgetLost(ctx, c)
	if err != nil {
		return nil, err
	}
	addr, route := r.wanted(c)
	for _, e := range []entry{addr, route} {
		if slices.Contains(r.added, e) {
			continue
		}
		if err := r.clear(ctx, e); err != nil {
			return nil, err
		}
		if err := r.add(ctx, e); err != nil {
			return nil, err
		}
	}
	return append(lost, gone...), nil
}

// countFailure counts a restoration that has failed as one that was made, so that there is an end to both: it returns err,
// or an ErrContested. What a device never had is no restoration. The caller holds mu.
func (r *Router) countFailure(ctx context.Context, c Config, err error) error {
	if r.held != c || ctx.Err() != nil || errors.Is(err, ErrGone) || errors.Is(err, ErrContested) {
		return err
	}
	if ended := r.contest([]string{err.Error()}); ended != nil {
		return ended
	}
	r.restored = append(r.restored, time.Now())
	return err
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
	return r.removeAll(ctx, func(e entry) bool { return e.Kind != kindBypass && !slices.Contains(keep, e) })
}

// removeAll removes what was added and fits, newest first. The caller holds mu.
func (r *Router) removeAll(ctx context.Context, fits func(entry) bool) error {
	for _, e := range slices.Backward(slices.Clone(r.added)) {
		if !fits(e) {
			continue
		}
		if err := r.remove(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// Withdraw takes away the address and the route that Set gave, so that what they hide on this machine is seen again. The
// device stays up, and bypasses stay. The next Set gives them anew.
func (r *Router) Withdraw(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = Config{}
	return r.removeAll(ctx, func(e entry) bool { return e.Kind != kindBypass })
}

// setLink sets the device up unless it is as c asks, and returns what of that was changed since. The caller holds mu.
func (r *Router) setLink(ctx context.Context, c Config) (lost []string, err error) {
	given := link{dev: c.Dev, mtu: c.MTU, qlen: c.Qlen, index: r.link.index}
	if given == r.link {
		if r.look == nil {
			return nil, nil
		}
		now, err := r.own()
		if err != nil {
			return nil, err
		}
		if lost = differences(now, c); len(lost) == 0 {
			return nil, nil
		}
		if err := r.contest(lost); err != nil {
			return nil, err
		}
	}
	if _, err := r.run.Run(ctx, ipcmd.LinkUp(c.Dev, c.MTU, c.Qlen)); err != nil {
		return nil, fmt.Errorf("set %s up: %w", c.Dev, err)
	}
	if r.link.dev != c.Dev || r.link.index == 0 {
		given.index = 0
		if r.look != nil {
			now, err := r.look.LinkByName(c.Dev)
			if err != nil {
				return nil, err
			}
			given.index = now.Index
		}
	}
	r.link = given
	return lost, nil
}

// own returns the device that Set has configured, an ErrGone if that is no longer there. The caller holds mu.
func (r *Router) own() (rtnl.Link, error) {
	now, err := r.look.LinkByIndex(r.link.index)
	switch {
	case err != nil:
		return now, err
	case now.Index == 0:
		return now, fmt.Errorf("%w: %s", ErrGone, r.link.dev)
	case now.Name != r.link.dev:
		return now, fmt.Errorf("%w: %s is called %s now", ErrGone, r.link.dev, now.Name)
	}
	return now, nil
}

// differences returns what of a link is not as c asks.
func differences(now rtnl.Link, c Config) (all []string) {
	if !now.Up {
		all = append(all, "the link was set down")
	}
	if now.MTU != c.MTU {
		all = append(all, fmt.Sprintf("mtu %d", now.MTU))
	}
	if now.Qlen != c.Qlen {
		all = append(all, fmt.Sprintf("qlen %d", now.Qlen))
	}
	return all
}

// forgetLost takes from the books what is no longer in the kernel, and returns it. The caller holds mu.
func (r *Router) forgetLost(ctx context.Context, c Config) (lost []string, err error) {
	if r.look == nil || len(r.added) == 0 {
		return nil, nil
	}
	addr, route := r.wanted(c)
	addrs, err := r.look.Addrs(r.link.index)
	if err != nil {
		return nil, err
	}
	var hasPeer, hasRoute bool // the first is the kernel's own route to the peer, on which the other leans
	err = r.look.Routes(unix.RT_TABLE_MAIN, r.link.index, func(found rtnl.Route) bool {
		hasPeer = hasPeer || found.Dst == netip.PrefixFrom(c.Peer, c.Peer.BitLen()) && found.Protocol == unix.RTPROT_KERNEL
		hasRoute = hasRoute || route.is(found, r.link.index)
		return true
	})
	if err != nil {
		return nil, err
	}
	hasLocal := false // the kernel's own route by which it takes packets to the address
	err = r.look.Routes(unix.RT_TABLE_LOCAL, r.link.index, func(found rtnl.Route) bool {
		hasLocal = found.Type == unix.RTN_LOCAL && found.Dst == netip.PrefixFrom(c.Local, c.Local.BitLen())
		return !hasLocal
	})
	if err != nil {
		return nil, err
	}
	hasAddr := addr.hasAddr(addrs) && hasLocal
	var missing []entry
	if slices.Contains(r.added, route) && !hasRoute {
		missing = append(missing, route)
	}
	if slices.Contains(r.added, addr) && (!hasAddr || !hasPeer) {
		missing = append(missing, addr)
	}
	if len(missing) == 0 {
		return nil, nil
	}
	for _, e := range missing {
		lost = append(lost, "the "+e.String())
	}
	if err := r.contest(lost); err != nil {
		return nil, err
	}
	if slices.Contains(missing, addr) && slices.Contains(r.added, route) && hasRoute { // it leans on the address
		missing = append([]entry{route}, missing...)
	}
	for _, e := range missing {
		if err := r.remove(ctx, e); err != nil { // the address without its route to the peer is added anew
			return nil, err
		}
	}
	return lost, nil
}

// contest returns an ErrContested if there was enough to restore of late already. The caller holds mu.
func (r *Router) contest(lost []string) error {
	r.restored = slices.DeleteFunc(r.restored, func(t time.Time) bool { return time.Since(t) > contestTime })
	if len(r.restored) < maxRestored {
		return nil
	}
	return fmt.Errorf("%s: %w, %d times within a minute: %s", r.link.dev, ErrContested, maxRestored+1, strings.Join(lost, ", "))
}

// checkUsed returns an ErrNotUsed if a packet to the network would leave by something else than the device: one whose
// sender has chosen no source address, or one from this side's own address, which rules may treat otherwise. The caller
// holds mu.
func (r *Router) checkUsed(c Config) error {
	if r.look == nil || r.dry || r.link.index == 0 {
		return nil
	}
	there := c.Network.Addr().Next() // the server's own address, lease.PairOf
	if there == c.Local {
		there = c.Peer.Next() // a client's
	}
	for _, from := range []netip.Addr{{}, c.Local} {
		found, err := explain(r.look.Resolve, rtnl.Flow{To: there, From: from, Protocol: unix.IPPROTO_TCP})
		if err == nil && len(found.Hops) > 0 && found.Hops[0].Index == r.link.index {
			continue
		}
		packets := c.Network.String()
		if from.IsValid() {
			packets += " from " + from.String()
		}
		if err != nil || len(found.Hops) == 0 {
			return fmt.Errorf("%w: packets to %s: %w", ErrNotUsed, packets, cmp.Or(err, ErrNoRoute))
		}
		return fmt.Errorf("%w: packets to %s leave by %s, not by %s (table %d)", ErrNotUsed, packets,
			r.name(found.Hops[0].Index), c.Dev, found.Table)
	}
	return nil
}
