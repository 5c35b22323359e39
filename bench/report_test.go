package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sampled is a run that has measured a little.
func sampled(t *testing.T) *bench {
	t.Helper()
	o := options{rounds: 3, seconds: 5, wanSeconds: 10, clients: 100, out: t.TempDir()}
	p, err := choose(o)
	if err != nil {
		t.Fatal(err)
	}
	r := newResults(o.rounds)
	for round, v := range []float64{10, 20, 30} {
		r.add(round, figUp, nameLimit, 2*v)
		r.add(round, figUp, nameWS, v)
		r.add(round, figMemory, nameWSS, v)
	}
	r.add(1, figDown, nameWS, 7)
	r.version[nameWS] = "v1.2.3"
	r.absent = []reason{{nameWSVPNWS, "no such\n\tmodule <&>"}}
	r.failed = []reason{{nameWS, strings.Repeat("a whole report ", 1000)}}
	return &bench{options: o, plan: p, results: r, began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), console: io.Discard}
}

func TestReport(t *testing.T) {
	t.Parallel()
	b := sampled(t)
	if err := b.report(); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(b.out, "RESULTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| one TCP stream, ws:// ÷ limit, client to server | ≥ 0.8 | 0.5 | **no** |",
		"| one TCP stream, wss:// ÷ limit, client to server | ≥ 0.5 | – | – |",
		"| resident memory per idle client, wss:// | ≤ 40 KiB | 20 KiB | yes |",
		"| tunnel ws:// | 20 (10 – 30) | 0.5 | 7 | – | – | – |",
		"- tunnel ws://: v1.2.3\n",
		"- wsvpn-ws: no such module <&>\n",
		"- ws: " + strings.Repeat("a whole report ", 20) + " …\n",
		"2026-01-02",
		"](wan1-rtt.svg)",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("RESULTS.md does not say %q", want)
		}
	}
	for _, g := range groups() {
		for _, p := range g.plots {
			wellFormed(t, filepath.Join(b.out, p.file+".svg"))
		}
	}
}

func wellFormed(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	for d := xml.NewDecoder(f); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
	}
}

func TestChart(t *testing.T) {
	t.Parallel()
	var s strings.Builder
	err := chart{
		title: "a < b & c", unit: "ms", series: []string{"up", "down"}, better: "less is better", marks: []float64{200},
		rows: []bars{
			{"first", []bar{{100, 90, 110}, {50, 50, 50}}},
			{"second", []bar{{math.NaN(), math.NaN(), math.NaN()}, {1, 1, 1}}},
		},
	}.write(&s)
	if err != nil {
		t.Fatal(err)
	}
	svg := s.String()
	// The greatest value is the mark, at 200: 540 pixels by 210.
	for _, want := range []string{"a &lt; b &amp; c", `width="257.1"`, `width="128.6"`, "not measured", "dashed: target", ">100<", `x1="654.3"`} {
		if !strings.Contains(svg, want) {
			t.Errorf("no %q in\n%s", want, svg)
		}
	}
	if n := strings.Count(svg, `stroke="#222222"`); n != 1 {
		t.Errorf("%d ranges are drawn, want one: the others have but one value", n)
	}
	s.Reset()
	if err := (chart{series: []string{"nothing"}}).write(&s); err != nil || strings.Contains(s.String(), "NaN") {
		t.Errorf("an empty chart: %v\n%s", err, s.String())
	}
}

func TestVerdict(t *testing.T) {
	t.Parallel()
	least, most := target{bound: 2, atLeast: true}, target{bound: 2}
	for value, want := range map[float64][2]string{1: {"**no**", "yes"}, 2: {"yes", "yes"}, 3: {"yes", "**no**"}, math.Inf(1): {"yes", "**no**"}} {
		if got := [2]string{least.verdict(value), most.verdict(value)}; got != want {
			t.Errorf("%v: %v, want %v", value, got, want)
		}
	}
	if least.verdict(math.NaN()) != "–" {
		t.Error("nothing measured has a verdict")
	}
}
