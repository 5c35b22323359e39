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
	Input   string   // what the program reads from stdin
	// Do does what the program would, if it is not nil: the program is then shown, and not run.
	Do func() error
	// Each are the commands that it runs in one process, which are shown in its place.
	Each []Command
	// Routine says that it changes nothing that would have to be undone, and is run often.
	Routine bool
}

// String returns the command without its input, words joined by single spaces.
func (c Command) String() string {
	return strings.Join(append([]string{c.Program}, c.Args...),
		" ")
}

// Typed returns the command as a person would type it: what it reads is a here-document.
func (c Command) Typed() string {
	if len(c.Each) > 0 {
		lines := make([]string, len(c.Each))
		for i, each := range c.Each {
			lines[i] = each.Typed()
		}
		return strings.Join(lines, "\n")
	}
	if c.Input == "" {
		return c.String()
	}
	return c.String() + " <<'EOF'\n" + strings.TrimSuffix(c.Input, "\n") + "\nEOF"
}

// Runner runs commands. Exec is the real one; DryRun prints them.
type Runner interface {
	// Run runs c to its end and returns what it wrote to stdout. A failure is an *Error.
	Run(ctx context.Context, c Command) ([]byte, error)
}
