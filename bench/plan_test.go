package main

import (
	"slices"
	"strings"
	"testing"

	"tunnel/bench/contender"
)

func TestChoose(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		only       string
		contenders string
		groups     string
	}{
		{"", strings.Join(contender.Names(contender.Contenders("", "")), " "),
			strings.Join(groupNames(), " ")},
		{"wss,limit", "limit wss", strings.Join(groupNames(), " ")},
		{"udp", strings.Join(contender.Names(contender.Contenders("", "")), " "), "udp"},
		{"ws,udp,rtt", "ws", "udp rtt"},
	} {
		p, err := choose(options{only: c.only})
		if err != nil {
			t.Errorf("%q: %v", c.only, err)
			continue
		}
		var groups []string
		for _, g := range p.groups {
			groups = append(groups, g.Name)
		}
		if got := strings.Join(contender.Names(p.contenders), " "); got != c.contenders {
			t.Errorf("%q chooses %s, want %s", c.only, got, c.contenders)
		}
		if got := strings.Join(groups, " "); got != c.groups {
			t.Errorf("%q measures %s, want %s", c.only, got, c.groups)
		}
	}
	if _, err := choose(options{only: "ws,quick"}); err == nil {
		t.Error("an unknown name is accepted")
	}
}

// Names are unique, and each figure of a target or a plot exists.
func TestNamesFit(t *testing.T) {
	t.Parallel()
	all := slices.Concat(contender.Names(contender.Contenders("", "")), groupNames())
	slices.Sort(all)
	if len(slices.Compact(slices.Clone(all))) != len(all) {
		t.Errorf("a name stands for two things: %v", all)
	}
	known, units := map[string]bool{}, map[string]string{}
	for _, f := range figures() {
		known[f.ID], units[f.ID] = true, f.Unit
	}
	plotted, files := map[string]bool{}, map[string]bool{}
	for _, g := range groups() {
		for _, p := range g.Plots {
			if files[p.File] {
				t.Errorf("two plots are called %s", p.File)
			}
			files[p.File] = true
			for _, id := range p.IDs {
				plotted[id] = true
				if units[id] != units[p.IDs[0]] {
					t.Errorf("%s has two units", p.File)
				}
			}
		}
	}
	for id := range known {
		if !plotted[id] {
			t.Errorf("figure %s is in no plot", id)
		}
	}
	for _, x := range targets() {
		if !known[x.Figure] || !slices.Contains(all, x.Contender) ||
			(x.Over != "" && !slices.Contains(all, x.Over)) {
			t.Errorf("target %q refers to something unknown", x.What)
		}
	}
}

func TestRoomFor(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{1: "/29", 1000: "/21", 10000: "/17", 16381: "/17",
		16382: "/16"} {
		if got := roomFor(n)[1]; !strings.HasSuffix(got, want) {
			t.Errorf("%d clients in %s, want %s", n, got, want)
		}
	}
}
