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
	// ErrNotUsed means that the route exists, but the kernel sends packets to its network
	// elsewhere.
	ErrNotUsed = errors.New("the route is not used")
)

// Apply gives up after more than maxRestored restorations within contestTime.
const (
	maxRestored = 5
	contestTime = time.Minute
)

// Apply makes the machine conform to w: it removes what an earlier Apply made and w does not have,
// sets the device up, and makes what is missing, in w's order. Called again with the same Want, it
// restores what another program changed or removed and logs that; if nothing differs it runs no
// command. The error is an ErrContested if restoring was necessary, or failed, too often; an
// ErrGone if the device no longer exists; an ErrNotUsed if the kernel does not use a route. After
// an error what was done stays until Close or the next Apply, which continues from there. A failed
// command is a *cmdrun.Error.
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
		if why := h.checkPeers(w); isRefused(err) && why != nil {
			return why
		}
		return h.countFailure(ctx, w, err)
	}
	h.held = w
	if len(lost) > 0 {
		h.restored = append(h.restored, time.Now())
		h.log.WarnContext(ctx, "restored what something else on this machine has changed", "dev",
			w.Dev,
			"what", strings.Join(lost, ", "))
	}
	return h.checkUsed(w)
}

// apply is Apply without its count of restorations, and returns what it restored. The caller holds
// mu.
func (h *Host) apply(ctx context.Context, w Want) (lost []string, err error) {
	if err := h.removeStale(ctx, w.facts(h.indexOf(w.Dev))); err != nil {
		return nil, err
	}
	lost, err = h.setLink(ctx, w)
	if err != nil {
		return nil, err
	}
	wanted := w.facts(h.indexOf(w.Dev)) // setLink may have learned the index
	gone, err := h.forgetLost(ctx, wanted)
	if err != nil {
		return nil, err
	}
	for _, f := range wanted {
		if slices.Contains(h.made, f) {
			continue
		}
		if err := h.make(ctx, f); err != nil {
			return nil, err
		}
	}
	return append(lost, gone...), nil
}

// removeStale removes what an earlier Apply made and is not wanted, with the facts that depend on
// it. The caller holds mu.
func (h *Host) removeStale(ctx context.Context, wanted []fact) error {
	stale := withLeaning(h.made, func(f fact) bool {
		return isApplied(f) &&
			!slices.Contains(wanted, f)
	})
	return h.removeAll(ctx, func(f fact) bool { return slices.Contains(stale, f) })
}

// forgetLost removes from the journal the facts that the machine no longer has, and returns them.
// Facts that depend on those are removed from the machine, so that they are made anew. The caller
// holds mu.
func (h *Host) forgetLost(ctx context.Context, wanted []fact) (lost []string, err error) {
	if h.machine.Look == nil || !slices.ContainsFunc(h.made, isApplied) {
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
	again := withLeaning(h.made, func(f fact) bool { return slices.Contains(missing, f) })
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

// withLeaning returns the facts that fit, and those that depend on one of them and must be removed
// before it.
func withLeaning(all []fact, fits func(fact) bool) []fact {
	var found []fact
	for _, f := range all {
		leaning, leans := f.(interface{ LeansOn(journal.Fact) bool })
		leans = leans && slices.ContainsFunc(found,
			func(on fact) bool { return leaning.LeansOn(on) })
		if leans || fits(f) {
			found = append(found, f)
		}
	}
	return found
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
	if !h.held.Equal(w) || ctx.Err() != nil || errors.Is(err, ErrContested) || !isRefused(err) {
		return err
	}
	if ended := h.contest([]string{err.Error()}); ended != nil {
		return ended
	}
	h.restored = append(h.restored, time.Now())
	return err
}

// isRefused reports whether a command has run and failed.
func isRefused(err error) bool {
	var failed *cmdrun.Error
	return errors.As(err, &failed) && failed.ExitCode > 0
}

// Withdraw removes what Apply made, so that routes of this machine that it hid are used again. The
// device stays up, and bypasses stay. The next Apply makes everything anew.
func (h *Host) Withdraw(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = Want{}
	return h.removeAll(ctx, isApplied)
}
