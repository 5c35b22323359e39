package route

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"tunnel/cmdrun"
	"tunnel/rtnl"
)

// Leftover reports whether the journal is a killed run's, and Heal has something to do.
func (j *Journal) Leftover() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.leftover
}

// Heal removes what the killed run that left this journal had added, as far as it is still there exactly as it was
// noted, newest first. It returns what it removed, one line each. What cannot be removed stays noted, and Heal can be
// called again.
//
// Whoever noted an entry had just seen that nothing like it was there, but was perhaps killed before the change. If
// another program then made the identical change, Heal removes that: nothing in the kernel tells the two apart. Under
// AT_SECURE it therefore removes only bypasses without which packets go the same way, and forgets the others.
func (j *Journal) Heal(ctx context.Context, run cmdrun.Runner, look Lookup) ([]string, error) {
	if j == nil {
		return nil, nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.leftover || j.file == nil {
		return nil, nil
	}
	var (
		removed  []string
		failures []error
		left     []entry
	)
	for _, e := range slices.Backward(j.entries) {
		done, err := j.heal(ctx, run, look, e)
		if err != nil {
			failures = append(failures, err)
			left = append(left, e)
		}
		if done {
			removed = append(removed, e.String())
		}
	}
	slices.Reverse(left)
	if err := j.shrink(left); err != nil {
		failures = append(failures, journalError(filepath.Dir(j.path), err))
	}
	j.leftover = len(left) > 0
	if err := errors.Join(failures...); err != nil {
		return removed, fmt.Errorf("remove what a killed run left: %w", err)
	}
	return removed, nil
}

// heal undoes e, and reports whether it removed something.
func (j *Journal) heal(ctx context.Context, run cmdrun.Runner, look Lookup, e entry) (removed bool, err error) {
	if j.rules.secure {
		idle, err := isIdle(look, e)
		if err != nil {
			return false, fmt.Errorf("undo %s: %w", e, err)
		}
		if !idle {
			return false, nil
		}
	}
	return undo(ctx, run, look, e)
}

// isIdle reports whether packets to the host of the bypass e would go the same way without it, by the main table. No device is
// left out: that of the journal's name may be another's.
func isIdle(look Lookup, e entry) (bool, error) {
	link, err := look.LinkByName(e.Dev)
	if err != nil || link.Index == 0 {
		return false, err
	}
	var best rtnl.Route
	err = look.Routes(unix.RT_TABLE_MAIN, 0, func(route rtnl.Route) bool {
		if !route.Dst.Contains(e.Prefix.Addr()) || route.Type == unix.RTN_THROW || e.is(route, link.Index) {
			return true
		}
		longer := route.Dst.Bits() - best.Dst.Bits()
		if best.Type == unix.RTN_UNSPEC || longer > 0 || longer == 0 && route.Metric < best.Metric {
			best = route
		}
		return true
	})
	return err == nil && best.Type == unix.RTN_UNICAST && slices.ContainsFunc(best.Hops, func(h rtnl.Hop) bool {
		return !h.Dead && h.Via == e.Via && h.Index == link.Index
	}), err
}
