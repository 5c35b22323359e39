package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// bench is one run of everything.
type bench struct {
	options
	plan
	shop    *workshop
	results *results
	began   time.Time
	console io.Writer
}

// run prepares the contenders and goes through the rounds. What fails is noted and does not end it; the end of ctx does.
func (b *bench) run(ctx context.Context) error {
	if err := b.prepare(ctx); err != nil {
		return err
	}
	for round := range b.rounds {
		b.say("round %d of %d", round+1, b.rounds)
		if err := b.round(ctx, round); err != nil {
			return err
		}
	}
	return nil
}

// prepare builds and installs, and takes out of the plan what cannot run.
func (b *bench) prepare(ctx context.Context) error {
	var able []contender
	for _, c := range b.contenders {
		b.say("prepare %s", c.name())
		version, err := c.prepare(ctx, b.shop)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			b.say("%s cannot run: %v", c.name(), err)
			b.results.absent = append(b.results.absent, reason{c.name(), err.Error()})
		default:
			able = append(able, c)
			b.results.version[c.name()] = version
		}
	}
	b.contenders = able
	return nil
}

// A step measures one or several groups of figures of the contenders that it is for.
type step struct {
	groups  []string
	where   string // for messages
	takes   func(contender) bool
	measure func(s *scope, round int, c contender)
}

func (b *bench) steps() []step {
	all := func(contender) bool { return true }
	own := func(c contender) bool { _, ok := c.(*tunnel); return ok }
	secure := func(c contender) bool { t, ok := c.(*tunnel); return ok && t.secure }
	// alone makes a step of a measurement that is about the program only.
	alone := func(measure func(*scope, int, *tunnel)) func(*scope, int, contender) {
		return func(s *scope, round int, c contender) {
			if t, ok := c.(*tunnel); ok {
				measure(s, round, t)
			}
		}
	}
	steps := []step{
		{[]string{"stream", "udp", "rtt"}, "LAN", all, b.lan},
		{[]string{"wan0"}, "WAN without loss", all, b.wan("0")},
		{[]string{"wan1"}, "WAN with 1 % loss", all, b.wan("1")},
		{[]string{"stall"}, "stalled client", own, alone(b.stall)},
		{[]string{"busy"}, "busy client", own, alone(b.busy)},
		{[]string{"reconnect"}, "reconnecting clients", secure, alone(b.reconnect)},
		{[]string{"memory"}, "idle clients", secure, alone(b.memory)},
	}
	for _, l := range fatLines() {
		steps = append(steps, step{[]string{groupFat}, l.title, all, b.fat(l)})
	}
	return steps
}

// round measures everything once, one contender after the other.
func (b *bench) round(ctx context.Context, round int) error {
	for _, s := range b.steps() { //nolint:contextcheck // labs end with their scope, which ends with ctx
		if !slices.ContainsFunc(s.groups, b.measures) {
			continue
		}
		for _, c := range b.contenders {
			if !s.takes(c) {
				continue
			}
			if err := b.within(ctx, c.name()+", "+s.where, func(t *scope) { s.measure(t, round, c) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// within runs one measurement. The error is not nil only when the whole run is to end.
func (b *bench) within(ctx context.Context, name string, f func(*scope)) error {
	err := within(ctx, name, b.say, f)
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	if err != nil {
		b.say("%s failed: %v", name, err)
		b.results.failed = append(b.results.failed, reason{name, err.Error()})
	}
	return nil
}

// add notes a figure and prints it.
func (b *bench) add(round int, id, contender string, value float64) {
	b.results.add(round, id, contender, value)
	f := figureOf(id)
	b.say("%-18s %10s %-8s %s", contender, short(value), f.unit, f.title)
}

// say prints a line with the time since the start.
func (b *bench) say(format string, args ...any) {
	since := time.Since(b.began).Round(time.Second)
	_, _ = fmt.Fprintf(b.console, "%7s  %s\n", since, fmt.Sprintf(format, args...))
}
