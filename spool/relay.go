package spool

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxLine is how much of a line without an end is held back, in bytes.
const maxLine = 64 << 10

// Relay is the way to a Writer for what another process has written, which comes in pieces that end
// anywhere: it passes on whole lines, so that none is torn by a line of this process, or dropped in
// half. While the queue is full it waits as long as no write to the reader takes relayPatience, so that
// the text of a crash, which may be megabytes, comes whole. Nothing that it passes on does anything to a
// terminal, for the other process may have been taken over. A Relay is for one goroutine.
type Relay struct {
	to   *Writer
	rest []byte // of a line that has not ended
}

// Relay returns a new Relay to s.
func (s *Writer) Relay() *Relay { return &Relay{to: s} }

// Write implements io.Writer. There is no error: a process whose output has no place any more must
// neither be ended by that nor held back.
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

// Flush passes on what has no line's end, when the other process has ended.
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

// crowded reports whether n bytes have to wait for room, which their reader is making.
func (s *Writer) crowded(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	full := len(s.queue) > 0 && (s.size+n > maxBytes || len(s.queue) >= maxItems)
	return full && !s.hasty.Load() && !s.closed && !s.stalled(relayPatience)
}

// harmless returns a copy of text in which all that is not printable, but for tabs and the ends of
// lines, is escaped as in Go: control characters, those that turn the direction of text, and what is
// not UTF-8.
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
