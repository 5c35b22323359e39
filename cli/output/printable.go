package cli

import (
	"strconv"
	"strings"
	"unicode"
)

// maxLine is the most bytes of the line that says why a run ended: part of it may be the words of others.
const maxLine = 1 << 10

// printable returns s as one line that does nothing to a terminal: what is not printable (control characters, those that
// turn the direction of text) is escaped as in Go, and what is too long is cut.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if b.Len() >= maxLine {
			b.WriteString("…")
			break
		}
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}
