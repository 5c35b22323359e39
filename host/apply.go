package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"tunnel/cmdrun"
	"tunnel/firewall"
	"tunnel/journal"
	"tunnel/route"
	"tunnel/rtnl"
)

// Errors about a device that another program on this machine has changed.
var (
	// ErrGone means that the device was deleted or renamed, or is in another network namespace.
	ErrGone = errors.New("the device is gone")
	// ErrContested means that another program removes what Apply made, again and again.
	ErrContested = errors.New("taken away again and again")
)

// Apply gives up after more than maxRestored restorations within contestTime.
const (
	maxRestored = 5
	contestTime = time.Minute
)

// Apply makes the machine conform to w: it removes what an earlier Apply made and w does not have,
// sets the device up, and makes what is missing, in w's order. Called again with the same Want, it
// restores what another program changed or removed and logs that; if nothing differs it runs no
// command, but for those that ask what resolves names, and that renew what a full tunnel refuses.
// The error is an ErrContested if restoring was necessary, or failed, too often; an ErrGone if the
// device no longer exists; a route.ErrNotUsed if the kernel does not use a route; one of package
// dns if all is done but w.Names. After an error what was done stays until Close or the next Apply,
// which continues from there. A failed command is a *cmdrun.Error.
func (h *Host) Apply(ctx context.Context, w Want) error {
	if err := w.check(); err != nil {
		return fmt.Errorf("set addresses and routes: %w", err)
	}
	if h.journal != nil && h.journal.Dev() != w.Dev {
		return fmt.Errorf("set addresses and routes: the journal is that of %s, not of %s",
			h.journal.Dev(), w.Dev)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return fmt.Errorf("set addresses and routes: %w", os.ErrClosed)
	}
	lost, err := h.apply(ctx, w)
	if err != nil {
		if why := h.checkPeers(w); cmdrun.Refused(err) && why != nil {
			return why
		}
		return h.countFailure(ctx, w, err)
	}
	h.held = w
	if len(lost) > 0 {
		h.restored = append(h.restored, time.Now())
		h.log.WarnContext(ctx, "restored what something else on this machine has changed",
			"dev", w.Dev, "what", strings.Join(lost, ", "))
	}
	if err := h.checkUsed(w); err != nil {
		return err
	}
	return h.applyNames(ctx, w)
}

// apply is Apply without its count of restorations, and returns what it restored. The caller holds
// mu.
func (h *Host) apply(ctx context.Context, w Want) (lost []string, err error) {
	rules, err := h.ruled()
	if err != nil {
		return nil, err
	}
	w, err = h.complete(w, rules)
	if err != nil {
		return nil, err
	}
	switches, err := h.switches(ctx, w)
	if err != nil {
		return nil, err
	}
	if err := h.addressFirst(ctx, w); err != nil {
		return nil, err
	}
	if err := h.removeStale(ctx, append(w.facts(h.indexOf(w.Dev), rules), switches...)); err != nil {
		return nil, err
	}
	lost, err = h.setLink(ctx, w)
	if err != nil {
		return nil, err
	}
	// setLink may have learned the index
	wanted := inOrder(w.facts(h.indexOf(w.Dev), rules), switches)
	gone, err := h.forgetLost(ctx, wanted)
	if err != nil {
		return nil, err
	}
	lost = append(lost, gone...)
	for i, f := range wanted {
		if !slices.Contains(h.made, f) {
			if err := h.makeMany(ctx, wanted[i:]); err != nil {
				return nil, err
			}
		}
		if !slices.Contains(h.made, f) {
			if err := h.make(ctx, f); err != nil {
				return nil, err
			}
		}
		if isTable(f) {
			changed, err := h.setTable(ctx, w, h.guardsOf(switches))
			if err == nil && h.sockets.Again() {
				w.Firewall = h.sockets.Into(w.Firewall)
				_, err = h.setTable(ctx, w, h.guardsOf(switches))
			}
			if err != nil {
				return nil, err
			}
			lost = append(lost, changed...)
		}
	}
	return lost, nil
}

// addressFirst makes the addresses of a full tunnel that are to replace others. With the last
// address of a device the kernel removes all routes by it, from each table (fib_disable_ip in
// net/ipv4/fib_frontend.c). The caller holds mu.
func (h *Host) addressFirst(ctx context.Context, w Want) error {
	index := h.indexOf(w.Dev)
	if !w.Full.On || index == 0 || !slices.ContainsFunc(h.made, func(f fact) bool {
		_, ok := f.(route.Address)
		return ok
	}) {
		return nil
	}
	for _, f := range w.facts(index, true) {
		if _, ok := f.(route.Address); ok && !slices.Contains(h.made, f) {
			if err := h.make(ctx, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeStale removes what an earlier Apply made and is not wanted, with the facts that depend on
// it. The caller holds mu.
func (h *Host) removeStale(ctx context.Context, wanted []fact) error {
	stale := journal.WithLeaning(h.made, func(f fact) bool {
		return isApplied(f) && !isNames(f) && !slices.Contains(wanted, f)
	})
	return h.removeAll(ctx, func(f fact) bool { return slices.Contains(stale, f) })
}

// forgetLost removes from the journal the facts that the machine no longer has, and returns them.
// Facts that depend on those are removed from the machine, so that they are made anew. The caller
// holds mu.
func (h *Host) forgetLost(ctx context.Context, wanted []fact) (lost []string, err error) {
	if h.dry || h.machine.Look == nil || !slices.ContainsFunc(h.made, isApplied) {
		return nil, nil
	}
	now := journal.Machine{Run: h.machine.Run, Look: rtnl.Remember(h.machine.Look)}
	var missing []fact
	for _, f := range slices.Backward(h.made) {
		if !isApplied(f) || !slices.Contains(wanted, f) {
			continue
		}
		intact, err := isIntact(now, f)
		if err != nil {
			return nil, err
		}
		if !intact {
			missing = append(missing, f)
			lost = append(lost, "the "+f.String())
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	if err := h.contest(lost); err != nil {
		return nil, err
	}
	again := journal.WithLeaning(h.made, func(f fact) bool { return slices.Contains(missing, f) })
	return lost, h.removeAll(ctx, func(f fact) bool { return slices.Contains(again, f) })
}

// isApplied reports whether f was made by Apply, and not by Bypass.
func isApplied(f fact) bool {
	_, bypass := f.(route.Bypass)
	return !bypass
}

// isIntact reports whether the machine has f, and what the kernel adds because of f.
func isIntact(m journal.Machine, f fact) (bool, error) {
	if more, ok := f.(interface {
		Intact(journal.Machine) (bool, error)
	}); ok {
		return more.Intact(m)
	}
	return f.Find(m)
}

// contest returns an ErrContested if maxRestored restorations were made within contestTime. The
// caller holds mu.
func (h *Host) contest(lost []string) error {
	h.restored = slices.DeleteFunc(h.restored,
		func(t time.Time) bool { return time.Since(t) > contestTime })
	if len(h.restored) < maxRestored {
		return nil
	}
	return fmt.Errorf("%s: %w, %d times within a minute: %s", h.link.dev, ErrContested,
		maxRestored+1, strings.Join(lost, ", "))
}

// countFailure counts a restoration that the kernel refuses like a successful one, so that Apply
// gives up on both: it returns err, or an ErrContested. Making what the device never had is no
// restoration, and what failed for reasons of this program's own, such as a full disk, was not
// refused. The caller holds mu.
func (h *Host) countFailure(ctx context.Context, w Want, err error) error {
	if !h.held.Equal(w) || ctx.Err() != nil || errors.Is(err, ErrContested) || !cmdrun.Refused(err) {
		return err
	}
	if ended := h.contest([]string{err.Error()}); ended != nil {
		return ended
	}
	h.restored = append(h.restored, time.Now())
	return err
}

// Withdraw removes what Apply made, so that routes of this machine that it hid are used again. The
// device stays up, and bypasses and a kill switch stay. With a full tunnel its table stays, too,
// and refuses all that leaves this machine but by its LAN; called again, Withdraw renews either, as
// Apply does. The next Apply makes everything anew.
func (h *Host) Withdraw(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.held.IsZero() {
		h.withdrawn = h.held
	}
	h.held = Want{}
	keep := h.sealed || h.leased
	err := h.removeAll(ctx, func(f fact) bool { return isApplied(f) && !(keep && isTable(f)) })
	if err != nil || !keep || h.withdrawn.IsZero() {
		return err
	}
	w, err := h.complete(h.withdrawn, true)
	if err != nil {
		return err
	}
	if o := w.Firewall.Outside; o != nil {
		o.Tunnel = nil // the network that has come may have given this machine the same address
	}
	_, err = h.setTable(ctx, w, firewall.Guards{})
	return err
}
