package privsep

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"tunnel/route"
)

// failure makes err fit into a message.
func (p *Parent) failure(err error) *Failure {
	f := p.machine.Explain(err)
	f = &Failure{Step: f.Step, Text: cut(f.Text), Advice: cut(f.Advice)}
	if at := slices.IndexFunc(causes(), func(cause error) bool {
		return errors.Is(err,
			cause)
	}); at >= 0 {
		f.Cause = causes()[at].Error()
	}
	if overlap := (*route.OverlapError)(nil); errors.As(err, &overlap) {
		f.Overlap = bounded(*overlap)
	}
	return f
}

// cut returns text if it has at most maxText bytes, else as many of its lines as fit, and how many
// more there are; of one line its beginning.
func cut(text string) string {
	if len(text) <= maxText {
		return text
	}
	const more = "\nand %d more"
	room := maxText - len(more) - 10 // of the number
	whole := strings.LastIndexByte(text[:room+1], '\n')
	if whole < 0 {
		return strings.ToValidUTF8(text[:maxText], "")
	}
	return text[:whole] + fmt.Sprintf(more, strings.Count(text[whole:], "\n"))
}

// maxEntry bounds what an answer says of each of many networks that overlap, in bytes.
const maxEntry = 64

// bounded returns overlap so that the networks of one request fit into a message.
func bounded(overlap route.OverlapError) *route.OverlapError {
	cut := func(entry string) string {
		return strings.ToValidUTF8(entry[:min(len(entry), maxEntry)], "")
	}
	if len(overlap.More) == 0 {
		overlap.Entry = overlap.Entry[:min(len(overlap.Entry), maxText)]
		return &overlap
	}
	overlap.Entry, overlap.More = cut(overlap.Entry), slices.Clone(overlap.More)
	for i := range overlap.More {
		overlap.More[i].Entry = cut(overlap.More[i].Entry)
	}
	return &overlap
}
