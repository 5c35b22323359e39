package spool

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxLine bounds how much of an unfinished line is held back, in bytes.
const maxLine = 64 << 10

// Relay passes another process's output, which arrives in arbitrary pieces, on to a Writer. It
// passes on whole lines, so that none is mixed with a line of this process or dropped in half.
// While the queue is full it waits as long as no write to the reader takes relayPatience, so that
// the stack dump of a crash, which may be megabytes, arrives whole. It escapes control characters,
// because the other process may be compromised. A Relay is for one goroutine.
type Relay struct {
	to   *Writer
	rest []byte // the beginning of an unfinished line
}

// Relay returns a new Relay to s.
func (s *Writer) Relay() *Relay { return &Relay{to: s} }

// Write implements io.Writer. It returns no error: lost output must neither end nor block the other
// process.
func (r *Relay) Write(b []byte) (int, error) {
	r.rest = append(r.rest, b...)
	end := bytes.LastIndexByte(r.rest, '\n') + 1
	if end == 0 && len(r.rest) >= maxLine {
		end = len(r.rest)
	}
	if end > 0 {
		r.pass(r.rest[:end])
		r.rest = append(r.rest[:0], r.rest[end:]...)
	}
	return len(b), nil
}

// Flush passes on an unfinished line, when the other process has ended.
func (r *Relay) Flush() {
	if len(r.rest) > 0 {
		r.pass(r.rest)
		r.rest = nil
	}
}

func (r *Relay) pass(text []byte) {
	for line := range bytes.Lines(text) {
		for r.to.crowded(len(line)) {
			select {
			case <-r.to.room:
			case <-time.After(closePatience / 10):
			}
		}
		r.to.push(item{text: harmless(line)})
	}
}

// crowded reports whether n bytes must wait for room that a working reader will make.
func (s *Writer) crowded(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	full := len(s.queue) > 0 && (s.size+n > maxBytes || len(s.queue) >= maxItems)
	return full && !s.hasty.Load() && !s.closed && !s.stalled(relayPatience)
}

// harmless returns a copy of text in which characters that are not printable, except tabs and
// newlines, are escaped as in Go: control characters, those that change the direction of text, and
// invalid UTF-8.
func harmless(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1:
			out = fmt.Appendf(out, `\x%02x`, text[0])
		case r == '\n' || r == '\t' || unicode.IsPrint(r):
			out = append(out, text[:n]...)
		default:
			quoted := strconv.QuoteRune(r)
			out = append(out, quoted[1:len(quoted)-1]...)
		}
		text = text[n:]
	}
	return out
}
