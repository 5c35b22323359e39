package journal

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// Leftover reports whether the journal is a killed run's, and Heal has something to do.
func (j *Journal) Leftover() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.leftover
}

// Heal removes what the killed run that left this journal had added, as far as it is still there
// exactly as it was noted, newest first. It returns what it removed, one line each. What cannot be
// removed stays noted, and Heal can be called again. What is in keep stays, noted, for this run:
// without it there would be a gap before the run makes the same.
//
// The run that noted a fact had just seen that nothing like it was there, but was perhaps killed
// before the change. If another program then made the identical change, Heal removes that: nothing
// in the kernel tells the two apart. Under AT_SECURE it therefore removes only bypasses without
// which packets go the same way, and forgets the others.
func (j *Journal) Heal(ctx context.Context, m Machine, keep ...Fact) ([]string, error) {
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
		left     []Fact
	)
	unhealed := false
	var together []Fact
	all := slices.Clone(j.facts)
	slices.Reverse(all)
	for i, f := range all {
		if slices.Contains(keep, f) {
			left = append(left, f)
			continue
		}
		if many := Run(all[i:]); len(many) > 1 && !slices.Contains(together, f) {
			together = append(together, j.healMany(ctx, m, many, keep)...)
		}
		if slices.Contains(together, f) {
			removed = append(removed, f.String())
			continue
		}
		done, err := j.heal(ctx, m, f)
		if err != nil {
			failures = append(failures, err)
			left = append(left, f)
			unhealed = true
		}
		if done {
			removed = append(removed, f.String())
		}
	}
	slices.Reverse(left)
	if err := j.shrink(left); err != nil {
		failures = append(failures, explain(filepath.Dir(j.path), err))
	}
	j.leftover = unhealed
	if err := errors.Join(failures...); err != nil {
		return removed, fmt.Errorf("remove what a killed run left: %w", err)
	}
	return removed, nil
}

// healMany undoes what it can of facts of one kind, and returns them.
func (j *Journal) healMany(ctx context.Context, m Machine, facts, keep []Fact) []Fact {
	if j.rules.Secure {
		return nil
	}
	return UndoMany(ctx, m, slices.DeleteFunc(slices.Clone(facts),
		func(f Fact) bool { return slices.Contains(keep, f) }))
}

// heal undoes f, and reports whether it removed something.
func (j *Journal) heal(ctx context.Context, m Machine, f Fact) (removed bool, err error) {
	if h, ok := f.(Harmless); j.rules.Secure && ok {
		harmless, err := h.Harmless(m)
		if err != nil {
			return false, fmt.Errorf("undo %s: %w", f, err)
		}
		if !harmless {
			return false, nil
		}
	}
	return Undo(ctx, m, f)
}

// Facts returns what is noted, oldest first.
func (j *Journal) Facts() []Fact {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.facts)
}
