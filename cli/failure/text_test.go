package failure

import (
	"strings"
	"testing"
)

// What others say does nothing to the terminal on which the line is printed.
func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"tls: bücher.example: no":         "tls: bücher.example: no",
		"a\x1b]0;pwn\a\x1b[31mb":          `a\x1b]0;pwn\a\x1b[31mb`,
		"a\nb\r\u009b2J\u202ec":           `a\nb\r\u009b2J\u202ec`,
		"bad \xff":                        "bad �",
		strings.Repeat("x", 2*maxLine):    strings.Repeat("x", maxLine) + "…",
		strings.Repeat("\x1b", 2*maxLine): strings.Repeat(`\x1b`, maxLine/4) + "…",
	} {
		if got := Printable(text); got != want {
			t.Errorf("%q is printed as %q; want %q", text, got, want)
		}
	}
}
