// Package doctor has what `tunnel doctor` finds: plain values. Of the packages below it, local
// examines this machine and remote the path to a server; neither changes anything. docs/DOCTOR.md
// documents the JSON of a Report: a field or a problem is added, never renamed.
package doctor

import (
	"slices"
	"time"
)

// Schema is the version of the JSON. It changes when a field loses its meaning.
const Schema = 1

// Verdict is what a check comes to.
type Verdict string

// The verdicts, from the best to the worst.
const (
	OK   Verdict = "ok"
	Warn Verdict = "warn" // it works, or may work, with less than is possible
	Fail Verdict = "fail"
)

// Worse returns the worse of two verdicts.
func Worse(a, b Verdict) Verdict {
	order := []Verdict{OK, Warn, Fail}
	return order[max(slices.Index(order, a), slices.Index(order, b), 0)]
}

// Finding is the result of one check.
type Finding struct {
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	Problem Problem `json:"problem,omitempty"` // "" if the verdict is OK
	Saw     string  `json:"saw"`
	Advice  string  `json:"advice,omitempty"` // what to do

	// Err is the cause. A caller that knows the settings of the program adds its advice for that; nil
	// if Advice is complete.
	Err error `json:"-"`
}

// Path has the checks of the path to one server, in the order in which a connection needs them.
// They end at the first that fails.
type Path struct {
	Server string    `json:"server"` // its URL, without a query
	Checks []Finding `json:"checks"`
}

// Report is all that was found.
type Report struct {
	Schema  int       `json:"schema"`
	Version string    `json:"version"` // of the program
	Time    time.Time `json:"time"`    // by this machine's clock
	Verdict Verdict   `json:"verdict"` // the worst of all
	Machine []Finding `json:"machine"` // the checks of this machine
	Paths   []Path    `json:"paths"`   // one for each server
}

// All returns the findings of this machine and of all paths.
func (r Report) All() []Finding {
	all := slices.Clone(r.Machine)
	for _, p := range r.Paths {
		all = append(all, p.Checks...)
	}
	return all
}

// Judge sets the verdict of the whole.
func (r *Report) Judge() {
	r.Verdict = OK
	for _, f := range r.All() {
		r.Verdict = Worse(r.Verdict, f.Verdict)
	}
}
