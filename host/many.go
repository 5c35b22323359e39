package host

import (
	"context"
	"slices"

	"tunnel/journal"
	"tunnel/rtnl"
)

// makeMany makes the facts at the beginning of next in one process, if one can make them. It is a
// shortcut: what it has not made is not among h.made afterwards, and has to be made alone, so that
// the error says which fact failed. The caller holds mu.
func (h *Host) makeMany(ctx context.Context, next []fact) error {
	now := h.machine
	if now.Look != nil {
		now.Look = rtnl.Remember(now.Look)
	}
	rules := journal.RulesFor(h.device())
	var all []journal.Fact
	for _, f := range journal.Run(next) {
		many, ok := f.(journal.Many)
		if !ok || slices.Contains(h.made, f) || f.Check(rules) != nil {
			break
		}
		if alone, err := many.Alone(now); alone || err != nil {
			break
		}
		all = append(all, f)
	}
	if len(all) < 2 {
		return nil
	}
	if err := h.journal.Note(all...); err != nil {
		return err
	}
	h.made = append(h.made, next[:len(all)]...)
	many, ok := all[0].(journal.Many)
	if ok && many.MakeMany(ctx, h.machine, all) == nil {
		return nil
	}
	var missing []fact
	for _, f := range next[:len(all)] {
		if !h.mayBeThere(f) {
			missing = append(missing, f)
		}
	}
	return h.forget(missing...)
}

// removeMany undoes the facts at the beginning of next, which were made, in one process, if one can
// undo them. It is a shortcut as makeMany is. The caller holds mu.
func (h *Host) removeMany(ctx context.Context, next []fact) error {
	run := journal.Run(next)
	all := make([]journal.Fact, len(run))
	for i, f := range run {
		all[i] = f
	}
	removed := journal.UndoMany(ctx, h.machine, all)
	if len(removed) == 0 {
		return nil
	}
	return h.forget(slices.DeleteFunc(slices.Clone(run),
		func(f fact) bool { return !slices.Contains(removed, journal.Fact(f)) })...)
}
