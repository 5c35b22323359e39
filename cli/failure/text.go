package failure

import (
	"strconv"
	"strings"
	"unicode"
)

// maxLine bounds the line that says why a run ended, in bytes: others may have written part of it.
const maxLine = 1 << 10

// Printable returns s as one line that cannot control a terminal: characters that are not printable
// (control characters, those that change the direction of text) are escaped as in Go, and the line
// is cut at maxLine.
func Printable(s string) string {
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

// ShellQuote quotes word for a POSIX shell.
func ShellQuote(word string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+/:.,@%"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
