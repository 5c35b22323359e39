package report

import (
	"strings"
	"testing"
)

func TestWrap(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 120)
	for text, want := range map[string]string{
		"": "", "one  line\nof words": "one line of words",
		strings.Repeat("é", 100) + " é": strings.Repeat("é", 100) + "\né",
		long + " y":                     long + "\ny",
		strings.Repeat("12345678 ", 12): strings.Repeat("12345678 ", 10) + "12345678\n12345678",
	} {
		if got := Wrap(text); got != want {
			t.Errorf("%q is wrapped as %q; want %q", text, got, want)
		}
	}
}
