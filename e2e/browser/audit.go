package browser

import _ "embed"

//go:embed audit.js
var audit string

// Audit returns what is wrong with the page for people who do not see it well or use the keyboard
// only: contrast, labels, structure, sizes; and whether it is wider than the window.
func (b *Browser) Audit() (wrong []string) {
	b.t.Helper()
	b.Eval(audit, &wrong)
	return wrong
}
