package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"tunnel/bench/contender"
	"tunnel/bench/report"
	"tunnel/bench/scope"
	"tunnel/bench/through"
)

// bench is a run of the benchmarks.
type bench struct {
	options
	plan
	shop    *contender.Workshop
	results *report.Results
	began   time.Time
	console io.Writer
}

// run prepares the contenders and runs the rounds until ctx ends. A failed measurement is recorded,
// and does not end it.
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

// notAvailable is the report's reason for a contender that could not be built or installed. The
// error goes to the console only, because it may contain addresses of this network.
const notAvailable = "not available"

// prepare builds and installs the contenders, and removes those that cannot run from the plan.
func (b *bench) prepare(ctx context.Context) error {
	var able []contender.Contender
	for _, c := range b.contenders {
		b.say("prepare %s", c.Name())
		version, err := c.Prepare(ctx, b.shop)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			b.say("%s cannot run: %v", c.Name(), err)
			b.results.Absent = append(b.results.Absent,
				report.Reason{What: c.Name(), Why: notAvailable})
		default:
			able = append(able, c)
			b.results.Version[c.Name()] = version
		}
	}
	b.contenders = able
	return nil
}

// A step measures one or more groups of figures of the contenders that it takes.
type step struct {
	groups  []string
	where   string // for messages
	takes   func(contender.Contender) bool
	measure func(s *scope.Scope, round int, c contender.Contender)
}

func (b *bench) steps() []step {
	all := func(contender.Contender) bool { return true }
	own := func(c contender.Contender) bool { _, ok := c.(*contender.Tunnel); return ok }
	secure := func(c contender.Contender) bool {
		t, ok := c.(*contender.Tunnel)
		return ok && t.Secure
	}
	plain := func(c contender.Contender) bool { return own(c) && !secure(c) }
	// alone adapts a measurement of this program only.
	alone := func(measure func(*scope.Scope, int, *contender.Tunnel)) func(*scope.Scope, int,
		contender.Contender) {
		return func(s *scope.Scope, round int, c contender.Contender) {
			if t, ok := c.(*contender.Tunnel); ok {
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
		{[]string{through.Name}, "through the hub", own, alone(b.hub)},
		{[]string{"reconnect"}, "reconnecting clients", secure, alone(b.reconnect)},
		{[]string{"memory"}, "idle clients", secure, alone(b.memory)},
		{[]string{"attacked"}, "attacked server", secure, alone(b.attacked)},
		{[]string{"bystander"}, "greedy clients with a token each", plain,
			alone(b.bystander(greedySessions))},
		{[]string{"bystander"}, "greedy clients with one token", plain, alone(b.bystander(1))},
	}
	for _, l := range contender.FatLinks() {
		steps = append(steps, step{[]string{l.ID}, l.Title, all, b.fat(l)})
	}
	return steps
}

// round takes every step once with each contender in turn.
func (b *bench) round(ctx context.Context, round int) error {
	for _, s := range b.steps() { //nolint:contextcheck // labs end with their scope, which ends with ctx
		if !slices.ContainsFunc(s.groups, b.measures) {
			continue
		}
		for _, c := range b.contenders {
			if !s.takes(c) {
				continue
			}
			if err := b.within(ctx, c.Name()+", "+s.where,
				func(t *scope.Scope) { s.measure(t, round, c) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// within runs one measurement, and records a failure. The error is nil unless ctx has ended.
func (b *bench) within(ctx context.Context, name string, f func(*scope.Scope)) error {
	err := scope.Within(ctx, name, b.say, f)
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	if err != nil {
		b.say("%s failed: %v", name, err)
		b.results.Failed = append(b.results.Failed, report.Reason{What: name, Why: err.Error()})
	}
	return nil
}

// add records a value of a figure, and prints it.
func (b *bench) add(round int, id, contender string, value float64) {
	b.results.Add(round, id, contender, value)
	for _, f := range figures() {
		if f.ID == id {
			b.say("%-18s %10s %-8s %s", contender, report.Short(value), f.Unit, f.Title)
		}
	}
}

// say prints a line with the time since the start.
func (b *bench) say(format string, args ...any) {
	since := time.Since(b.began).Round(time.Second)
	_, _ = fmt.Fprintf(b.console, "%7s  %s\n", since, fmt.Sprintf(format, args...))
}
