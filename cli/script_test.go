//go:build !race

package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the scripts run this very test binary as the program.
func TestMain(m *testing.M) {
	program := func() { os.Exit(Main("test")) }
	testscript.Main(m, map[string]func(){"tunnel": program, "tunnel-worker": program})
}

// TestScripts runs the program as a person would, without root and without a network:
// testdata/cli/*.txtar. Whatever needs a device is the end-to-end tests' business, and so are data
// races: the race detector would start each of some hundred programs several times slower.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "../testdata/cli",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			// Where the program is, for scripts that have a PATH of their own.
			bin, _, _ := strings.Cut(env.Getenv("PATH"), string(os.PathListSeparator))
			env.Setenv("BIN", bin)
			root, err := filepath.Abs("..")
			if err != nil {
				return err
			}
			env.Setenv("ROOT", root) // of the repository
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"fails": fails},
	})
}

// fails is a script's command: `fails CODE STEP ARG...` runs tunnel with the arguments, which must
// end with that exit code, print nothing on stdout, and on stderr the one line of a failure at that
// step.
func fails(ts *testscript.TestScript, negated bool, args []string) {
	if negated || len(args) < 2 {
		ts.Fatalf("usage: fails CODE STEP [ARG...]")
	}
	code, step, args := args[0], args[1], args[2:]
	err := ts.Exec("tunnel", args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		ts.Fatalf("tunnel %s: %v; want exit code %s", strings.Join(args, " "), err, code)
	}
	stdout, stderr := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	if got := strconv.Itoa(exit.ExitCode()); got != code {
		ts.Fatalf("exit code %s; want %s\n%s", got, code, stderr)
	}
	if !regexp.MustCompile(`^tunnel: `+step+`: [^\n]+\n$`).MatchString(stderr) || stdout != "" {
		ts.Fatalf("stdout %q, stderr\n%swant nothing, and one line `tunnel: %s: …`", stdout, stderr,
			step)
	}
}
