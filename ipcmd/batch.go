package ipcmd

import (
	"strings"

	"tunnel/cmdrun"
)

// Batch returns the command that runs commands of this package in one process, in order, and ends
// with the first that fails (ip(8), -batch). ok is false if a word would have another meaning there
// than alone.
func Batch(all []cmdrun.Command) (batch cmdrun.Command, ok bool) {
	var lines strings.Builder
	for _, c := range all {
		line := strings.Join(c.Args, " ")
		if strings.ContainsAny(line, "#\"'\\\n") || len(strings.Fields(line)) != len(c.Args) {
			return batch, false
		}
		lines.WriteString(line + "\n")
	}
	batch = command("-batch", "-")
	batch.Input, batch.Each = lines.String(), all
	return batch, true
}
