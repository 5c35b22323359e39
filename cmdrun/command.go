// Package cmdrun runs the system's programs: without a shell, with a time limit, and with what they
// say on stderr in the error. It is the only part of this program that starts others, but for the
// user's hooks (cli) and the worker (privsep).
package cmdrun

import (
	"context"
	"strings"
)

// Command is one invocation of a program. It is a value: packages such as ipcmd build it, a Runner
// runs it.
type Command struct {
	Program string   // "ip"; looked up in PATH
	Args    []string // argv without the program's name
}

// String returns the command as a person would type it, words joined by single spaces.
func (c Command) String() string {
	return strings.Join(append([]string{c.Program}, c.Args...),
		" ")
}

// Runner runs commands. Exec is the real one; DryRun prints them.
type Runner interface {
	// Run runs c to its end and returns what it wrote to stdout. A failure is an *Error.
	Run(ctx context.Context, c Command) ([]byte, error)
}
