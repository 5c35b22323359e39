package e2e

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

const (
	token = "e2e-token-6f1c0b9a5d7e4f32" // the shared secret of all tests except those of secrets

	// soon bounds every wait for something that should happen at once. It is generous, since
	// machines may be busy.
	soon = 30 * time.Second

	// stopLimit is how long the program may take to end after SIGTERM.
	stopLimit = 2 * time.Second
)

// program is the path of a build of the program under test.
type program string

// plainBuild returns the build that is shipped.
func plainBuild(t *testing.T) program { return buildNamed(t, "tunnel") }

// raceBuild returns the build with Go's race detector.
func raceBuild(t *testing.T) program { return buildNamed(t, "tunnel-race") }

func buildNamed(t *testing.T, name string) program {
	t.Helper()
	dir := os.Getenv(binDirEnv)
	if dir == "" {
		t.Fatalf("%s is not set: TestMain did not run", binDirEnv)
	}
	dependOnSources(t)
	return program(filepath.Join(dir, name))
}

// dependOnSources opens every directory of the module, so that `go test` does not reuse a cached
// result after a change of the program, which another process builds.
func dependOnSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // the file was removed meanwhile
			return nil
		}
		if err != nil || !d.IsDir() {
			return err
		}
		if strings.HasPrefix(d.Name(), ".") && path != ".." {
			return filepath.SkipDir
		}
		if dir, err := os.Open(path); err == nil { // go test records this, unlike ReadDir
			return dir.Close()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// command prepares a run of the program on a host, without the user's TUNNEL_ variables.
func (p program) command(h *lab.Host, args ...string) *exec.Cmd {
	return clean(h.Command(append([]string{string(p)}, args...)...))
}

// clean removes the TUNNEL_ variables from a command's environment.
func clean(cmd *exec.Cmd) *exec.Cmd {
	env := cmd.Env[:0:0]
	for _, kv := range cmd.Env {
		if !strings.HasPrefix(kv, "TUNNEL_") {
			env = append(env, kv)
		}
	}
	cmd.Env = env
	return cmd
}

// start runs the program in the background. At the end of the test it is stopped if it still runs;
// it must end cleanly and without a data race.
func (p program) start(t *testing.T, h *lab.Host, args ...string) *lab.Proc {
	t.Helper()
	return watch(t, h.StartCommand(p.command(h, args...)))
}

// startWrapped is start through other programs, such as setpriv, with a token and a state directory
// of its own.
func (p program) startWrapped(t *testing.T, h *lab.Host, wrap []string, args ...string) *lab.Proc {
	t.Helper()
	argv := slices.Concat(wrap, []string{string(p)}, args, []string{"--token", token, "--state",
		t.TempDir()})
	return watch(t, h.StartCommand(clean(h.Command(argv...))))
}

// watch stops a running program at the end of the test, and checks it as start does.
func watch(t *testing.T, proc *lab.Proc) *lab.Proc {
	t.Helper()
	t.Cleanup(func() {
		if !proc.Exited() && !t.Failed() {
			proc.Signal(syscall.SIGTERM)
			if code := proc.Wait(soon); code != 0 {
				t.Errorf("exit code %d at the end of the test\n%s", code, proc.Stderr())
			}
		}
		for _, bad := range []string{"WARNING: DATA RACE", "panic:", "fatal error:"} {
			if strings.Contains(proc.Stderr(), bad) {
				t.Errorf("%s\n%s", bad, proc.Stderr())
			}
		}
	})
	return proc
}

// startServe starts `tunnel serve` with the token of all clients and a state directory of its own.
func (p program) startServe(t *testing.T, h *lab.Host, flags ...string) *lab.Proc {
	t.Helper()
	args := []string{"serve", "--token", token, "--max-sessions", "0", "--state", t.TempDir()}
	return p.start(t, h, append(args, flags...)...)
}

// serve is startServe that waits until the server listens.
func (p program) serve(t *testing.T, h *lab.Host, flags ...string) *lab.Proc {
	t.Helper()
	proc := p.startServe(t, h, flags...)
	proc.WaitFor("listening on ", soon)
	return proc
}

// startConnect starts `tunnel connect` with a token and a state directory of its own.
func (p program) startConnect(t *testing.T, h *lab.Host, url string, flags ...string) *lab.Proc {
	t.Helper()
	args := append([]string{"connect", "--token", token, "--state", t.TempDir()}, flags...)
	return p.start(t, h, append(args, url)...)
}

// connect is startConnect that waits until the client is up.
func (p program) connect(t *testing.T, h *lab.Host, url string, flags ...string) *lab.Proc {
	t.Helper()
	proc := p.startConnect(t, h, url, flags...)
	proc.WaitFor("up: ", soon)
	return proc
}

// stop ends the program by SIGTERM. Its exit code must be 0.
func stop(t *testing.T, proc *lab.Proc) {
	t.Helper()
	proc.Signal(syscall.SIGTERM)
	if code := proc.Wait(soon); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0\n%s", code, proc.Stderr())
	}
}

// stopInTime is stop within stopLimit. It is for tests that do not run in parallel, since a busy
// machine may need longer.
func stopInTime(t *testing.T, proc *lab.Proc) {
	t.Helper()
	begin := time.Now()
	stop(t, proc)
	if took := time.Since(begin); took > stopLimit {
		t.Errorf("ended %v after SIGTERM, want at most %v", took, stopLimit)
	}
}

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	within(t, soon, what, ok)
}

// within waits for ok, at most for limit.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// stdoutLines returns the lines of a program's stdout that begin with prefix.
func stdoutLines(proc *lab.Proc, prefix string) []string {
	var lines []string
	for line := range strings.Lines(proc.Stdout()) {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}
