package doctor

import (
	"bytes"
	"fmt"
	"io"

	"tunnel/cli/failure"
	"tunnel/doctor"
)

// page is what a person reads. Everything that comes from the network is made printable.
type page struct {
	w       io.Writer
	colored bool
}

// print writes the report in one piece.
func (p *page) print(r doctor.Report) error {
	var text bytes.Buffer
	p.block(&text, "this machine", r.Machine)
	for _, path := range r.Paths {
		p.block(&text, path.Server, path.Checks)
	}
	counts := map[doctor.Verdict]int{}
	for _, f := range r.All() {
		counts[f.Verdict]++
	}
	if r.Verdict == doctor.OK {
		fmt.Fprintf(&text, "all is well: %d checks\n", counts[doctor.OK])
	} else {
		fmt.Fprintf(&text, "%d ok, %d to look at, %d failed\n", counts[doctor.OK],
			counts[doctor.Warn], counts[doctor.Fail])
	}
	_, err := p.w.Write(text.Bytes())
	return err
}

// block writes the findings about one subject.
func (p *page) block(text *bytes.Buffer, title string, all []doctor.Finding) {
	_, _ = fmt.Fprintln(text, failure.Printable(title))
	for _, f := range all {
		_, _ = fmt.Fprintf(text, "  %s  %-14s  %s\n", p.verdict(f.Verdict), f.Check,
			failure.Printable(f.Saw))
		if f.Advice != "" {
			_, _ = fmt.Fprintf(text, "%24s→ %s\n", "", failure.Printable(f.Advice))
		}
	}
	_, _ = fmt.Fprintln(text)
}

// verdict returns a verdict as a column, in a color of ECMA-48 section 8.3.117.
func (p *page) verdict(v doctor.Verdict) string {
	word, color := "ok  ", "32"
	switch v {
	case doctor.Warn:
		word, color = "warn", "33"
	case doctor.Fail:
		word, color = "FAIL", "31"
	}
	if !p.colored {
		return word
	}
	return "\x1b[" + color + "m" + word + "\x1b[0m"
}
