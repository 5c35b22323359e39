package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tunnel/bench/contender"
	"tunnel/bench/report"
)

// sampled returns a run with some measured values.
func sampled(t *testing.T) *bench {
	t.Helper()
	o := options{rounds: 3, seconds: 5, wanSeconds: 10, clients: 100, out: t.TempDir()}
	p, err := choose(o)
	if err != nil {
		t.Fatal(err)
	}
	r := report.NewResults(o.rounds)
	for round, v := range []float64{10, 20, 30} {
		r.Add(round, figUp, contender.NameLimit, 2*v)
		r.Add(round, figUp, contender.NameWS, v)
		r.Add(round, figMemory, contender.NameWSS, v)
	}
	r.Add(1, figDown, contender.NameWS, 7)
	r.Version[contender.NameWS] = "v1.2.3"
	r.Absent = []report.Reason{{What: contender.NameWSVPNWS, Why: "no such\n\tmodule <&>"}}
	r.Failed = []report.Reason{{What: contender.NameWS, Why: strings.Repeat("a whole report ",
		1000)}}
	return &bench{options: o, plan: p, results: r, began: time.Date(2026, 1, 2, 3, 4, 5, 0,
		time.UTC), console: io.Discard}
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
		for _, p := range g.Plots {
			wellFormed(t, filepath.Join(b.out, p.File+".svg"))
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
