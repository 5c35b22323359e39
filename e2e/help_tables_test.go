package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// tables returns everything in a host's network that the program may change: links, addresses and
// routes, as text. It leaves out what the kernel changes by itself (IPv6 link-local addresses,
// states of links, lifetimes).
func tables(t *testing.T, h *lab.Host) string {
	t.Helper()
	var text strings.Builder
	for line := range strings.Lines(h.Run("ip", "-o", "link")) {
		fields := strings.Fields(line) // 2: eth0@if3: <FLAGS> mtu 1500 …
		if len(fields) < 5 {
			t.Fatalf("ip -o link printed %q", line)
		}
		fmt.Fprintln(&text, fields[1], fields[3], fields[4])
	}
	text.WriteString(h.Run("ip", "-o", "-4", "addr"))
	text.WriteString(h.Run("ip", "-4", "route", "show", "table", "all"))
	text.WriteString(h.Run("ip", "-4", "rule"))
	return text.String()
}

// tablesWithoutIndexes returns tables without the indexes of the devices, so that the text is the
// same after the program was started again.
func tablesWithoutIndexes(t *testing.T, h *lab.Host) string {
	t.Helper()
	return regexp.MustCompile(`(?m)^\d+: `).ReplaceAllString(tables(t, h), "")
}

// untouched fails the test if a host's tables have changed or a journal of the host is left.
func untouched(t *testing.T, h *lab.Host, before string) {
	t.Helper()
	if after := tables(t, h); after != before {
		t.Errorf("the tables of %s changed\n--- before\n%s\n--- after\n%s", h.Name(), before, after)
	}
	if left := journals(t, h); len(left) > 0 {
		t.Errorf("journals of %s are left: %q", h.Name(), left)
	}
}

// journals returns the journals that the program has of a host's network.
func journals(t *testing.T, h *lab.Host) []string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/run/tunnel/*-c%d-*.json", h.Cookie()))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// routes returns a host's main table, one entry a line, without trailing spaces.
func routes(h *lab.Host, args ...string) []string {
	var lines []string
	for line := range strings.Lines(h.Run(append([]string{"ip", "-4", "route"}, args...)...)) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

// wantLines fails the test for every line that text lacks. Runs of spaces count as one.
func wantLines(t *testing.T, what, text string, want ...string) {
	t.Helper()
	var have []string
	for line := range strings.Lines(text) {
		have = append(have, strings.Join(strings.Fields(line), " "))
	}
	for _, line := range want {
		if !slices.Contains(have, line) {
			t.Errorf("%s lacks the line %q:\n%s", what, line, text)
		}
	}
}

// ranCommands returns the ip commands that a program has logged, in order.
func ranCommands(proc *lab.Proc) []string {
	var cmds []string
	for _, m := range regexp.MustCompile(`msg=run cmd="([^"]*)"`).FindAllStringSubmatch(
		proc.Stderr(), -1) {
		cmds = append(cmds, m[1])
	}
	return cmds
}

// wantCommands fails the test unless the program's first ip commands are these.
func wantCommands(t *testing.T, proc *lab.Proc, want ...string) {
	t.Helper()
	// The log is not in step with stdout, and the log lines of a first attempt are held until the
	// link is up.
	late := time.Now().Add(soon)
	have := ranCommands(proc)
	for ; len(have) < len(want) && time.Now().Before(late); have = ranCommands(proc) {
		time.Sleep(10 * time.Millisecond)
	}
	if len(have) < len(want) || !slices.Equal(have[:len(want)], want) {
		t.Errorf("commands\n  %s\nwant\n  %s", strings.Join(have, "\n  "), strings.Join(want,
			"\n  "))
	}
}
