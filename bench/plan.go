package main

import (
	"fmt"
	"slices"
	"strings"

	"tunnel/bench/contender"
	"tunnel/bench/report"
)

// plan is what a run measures: groups of figures, of contenders.
type plan struct {
	contenders []contender.Contender
	groups     []report.Group
}

// choose returns the plan for -only.
func choose(o options) (plan, error) {
	all := plan{contenders: contender.Contenders(o.other, o.wsvpn), groups: groups()}
	if o.only == "" {
		return all, nil
	}
	var chosen plan
	wanted := strings.Split(o.only, ",")
	for _, c := range all.contenders {
		if slices.Contains(wanted, c.Name()) {
			chosen.contenders = append(chosen.contenders, c)
		}
	}
	for _, g := range all.groups {
		if slices.Contains(wanted, g.Name) {
			chosen.groups = append(chosen.groups, g)
		}
	}
	for _, w := range wanted {
		if !slices.Contains(contender.Names(all.contenders), w) &&
			!slices.Contains(groupNames(), w) {
			return plan{}, fmt.Errorf("-only: %q is neither a contender nor a group of figures", w)
		}
	}
	if chosen.contenders == nil {
		chosen.contenders = all.contenders
	}
	if chosen.groups == nil {
		chosen.groups = all.groups
	}
	return chosen, nil
}

// measures reports whether a group of figures is in the plan.
func (p plan) measures(name string) bool {
	return slices.ContainsFunc(p.groups, func(g report.Group) bool { return g.Name == name })
}
