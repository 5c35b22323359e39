package privsep

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// Of many lines whole ones stay, and how many do not is said.
func TestCut(t *testing.T) {
	var lines []string
	for i := range 200 {
		lines = append(lines, fmt.Sprintf("serve.yaml:%d: no value: %s", i, strings.Repeat("x", i%40)))
	}
	got := strings.Split(cut(strings.Join(lines, "\n")), "\n")
	kept := len(got) - 1
	if kept < 20 || strings.Join(got[:kept], "") != strings.Join(lines[:kept], "") ||
		got[kept] != fmt.Sprintf("and %d more", len(lines)-kept) {
		t.Errorf("%d lines, the last %q", len(got), got[kept])
	}
	for _, text := range []string{"", "one", strings.Repeat("x", maxText),
		strings.Repeat("é", maxText), "x" + strings.Repeat("é", maxText),
		strings.Repeat("x\n", maxText)} {
		got := cut(text)
		if len(got) > maxText || !utf8.ValidString(got) || len(text) <= maxText && got != text {
			t.Errorf("%d bytes of %d", len(got), len(text))
		}
	}
}
