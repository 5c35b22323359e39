package route

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"tunnel/ipcmd"
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
// another program then made the identical change, Heal removes that: nothing in the kernel tells the two apart.
func (j *Journal) Heal(ctx context.Context, run ipcmd.Runner, look Lookup) ([]string, error) {
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
		done, err := undo(ctx, run, look, e)
		if err != nil {
			failures = append(failures, err)
			left = append(left, e)
		}
		if done {
			removed = append(removed, e.String())
		}
	}
	slices.Reverse(left)
	if err := j.write(left); err != nil {
		failures = append(failures, err)
	}
	j.leftover = len(left) > 0
	if err := errors.Join(failures...); err != nil {
		return removed, fmt.Errorf("remove what a killed run left: %w", err)
	}
	return removed, nil
}
