package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const recipes = "../docs/RECIPES.md"

// A page runs a recipe of docs/RECIPES.md: each command as it is typed there, on the machine that
// is named before it, until what is shown is what the page says. Only what the page has as
// sha256:… and tnl_… is replaced, by what the program has printed last.
type page struct {
	t         *testing.T
	steps     []recipeStep
	terminals map[string]*terminal
	bin       string // a directory with the program, and sudo
	outputs   []*shown
}

// A recipeStep is a command and the lines that it shows.
type recipeStep struct {
	machine, command string
	shows            []string
}

// A terminal is a machine of the page.
type terminal struct {
	wrap    []string // the command by which others run there
	env     []string
	state   string // its /var/lib/tunnel
	running *shown // a program that has not ended
}

// shown is a program and its output.
type shown struct {
	cmd   *exec.Cmd
	mu    sync.Mutex
	text  bytes.Buffer // guarded by mu
	ended chan struct{}
}

// Write implements io.Writer.
func (s *shown) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// String returns the output so far.
func (s *shown) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// newPage reads the recipe with a title.
func newPage(t *testing.T, title string) *page {
	t.Helper()
	text, err := os.ReadFile(recipes)
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := bytes.Cut(text, []byte("\n## "+title+"\n"))
	if !found {
		t.Fatalf("%s has no recipe %q", recipes, title)
	}
	text, _, _ = bytes.Cut(text, []byte("\n## "))
	p := &page{t: t, terminals: map[string]*terminal{}, bin: t.TempDir()}
	command := regexp.MustCompile(`^([\w-]+)\$ (.+)$`)
	inside := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		switch found := command.FindStringSubmatch(line); {
		case strings.HasPrefix(line, "```"):
			inside = line == "```console"
		case !inside:
		case found != nil:
			p.steps = append(p.steps, recipeStep{machine: found[1], command: found[2]})
		default:
			last := &p.steps[len(p.steps)-1]
			last.shows = append(last.shows, line)
		}
	}
	if len(p.steps) < 3 {
		t.Fatalf("the recipe %q has %d commands only", title, len(p.steps))
	}
	program, err := filepath.Abs(string(plainBuild(t)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(p.bin, "tunnel")); err != nil {
		t.Fatal(err)
	}
	// Tests are root already, and sudo may not be installed.
	if err := os.WriteFile(filepath.Join(p.bin, "sudo"), []byte("#!/bin/sh\nexec \"$@\"\n"),
		0o755); err != nil {
		t.Fatal(err)
	}
	return p
}

// host has the commands of a machine of the page run on a host.
func (p *page) host(name string, h interface{ NS() string }) {
	p.t.Helper()
	p.wrap(name, []string{"ip", "netns", "exec", h.NS()}, nil)
}

// wrap has the commands of a machine of the page run by another command, which gives them a mount
// namespace of their own. Their environment is env, or else that of the test.
func (p *page) wrap(name string, argv, env []string) {
	p.t.Helper()
	if env == nil {
		env = clean(&exec.Cmd{Env: os.Environ()}).Env
	}
	state := p.t.TempDir()
	if err := os.Chmod(state, 0o700); err != nil {
		p.t.Fatal(err)
	}
	p.terminals[name] = &terminal{wrap: argv, state: state,
		env: append(env, "LC_ALL=C", "PATH="+p.bin+":"+os.Getenv("PATH"))}
}

// run runs the recipe, and then stops what still runs.
func (p *page) run() {
	p.t.Helper()
	for _, step := range p.steps {
		at := p.terminals[step.machine]
		if at == nil {
			p.t.Fatalf("the recipe has a machine %q", step.machine)
		}
		if strings.HasPrefix(step.command, "sudo tunnel serve ") ||
			strings.HasPrefix(step.command, "sudo tunnel connect ") {
			at.stop(p.t)
			at.running = p.start(at, step.command)
			p.t.Cleanup(func() { at.stop(p.t) })
			out := at.running
			p.see(step, out.String)
			continue
		}
		// A person may have to type it again, as when a route comes a moment after the connection.
		var out *shown
		p.see(step, func() string {
			if out == nil || out.exited() {
				out = p.start(at, step.command)
			}
			select {
			case <-out.ended:
			case <-time.After(soon):
				_ = out.cmd.Process.Kill()
				<-out.ended
			}
			return out.String()
		})
	}
	for _, at := range p.terminals {
		at.stop(p.t)
	}
}

// see waits until what is shown has the lines of a step.
func (p *page) see(step recipeStep, show func() string) {
	p.t.Helper()
	var first, text string
	for deadline := time.Now().Add(soon); ; time.Sleep(50 * time.Millisecond) {
		text = show()
		if first == "" {
			first = text
		}
		missing := ""
		for _, line := range step.shows {
			if !lineLike(line).MatchString(text) {
				missing = line
				break
			}
		}
		if missing == "" {
			break
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s$ %s\nshows no line %q:\n%s\n%s", step.machine, step.command, missing, first,
				text)
		}
	}
}

// printed returns what matches the first group of a pattern in the newest output that has it, the
// last of several.
func (p *page) printed(pattern string) string {
	p.t.Helper()
	var found [][]string
	eventually(p.t, "some output has "+pattern, func() bool {
		for _, s := range slices.Backward(p.outputs) {
			if found = regexp.MustCompile(pattern).FindAllStringSubmatch(s.String(), -1); found != nil {
				return true
			}
		}
		return false
	})
	return found[len(found)-1][1]
}

// lineLike returns what matches the lines of which the page shows one.
func lineLike(line string) *regexp.Regexp {
	return regexp.MustCompile(`(?m)^` +
		strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + `\r?$`)
}

// start starts a command on a machine.
func (p *page) start(at *terminal, command string) *shown {
	p.t.Helper()
	for what, pattern := range map[string]string{"sha256:…": `--pin (sha256:\S+)\s`,
		"tnl_…": `(?m)(?:^|--token )(tnl_\w+)$`} {
		if strings.Contains(command, what) {
			command = strings.ReplaceAll(command, what, p.printed(pattern))
		}
	}
	const script = `mount -t tmpfs -o mode=755 tmpfs /var/lib && mkdir /var/lib/tunnel &&
		mount --bind "$0" /var/lib/tunnel && eval "exec $1"`
	argv := append(append([]string{}, at.wrap...), "sh", "-c", script, at.state, command)
	s := &shown{ended: make(chan struct{})}
	p.outputs = append(p.outputs, s)
	s.cmd = exec.CommandContext(context.Background(), argv[0], argv[1:]...)
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.Env = s, s, at.env
	s.cmd.WaitDelay = soon
	if err := s.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait() // its exit code is looked at by stop
		close(s.ended)
	}()
	return s
}

// exited reports whether the program has ended.
func (s *shown) exited() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// stop ends the program that runs on the machine as Ctrl-C does.
func (at *terminal) stop(t *testing.T) {
	t.Helper()
	s := at.running
	if s == nil {
		return
	}
	at.running = nil
	_ = s.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-s.ended:
	case <-time.After(soon):
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 || t.Failed() {
		t.Errorf("exit code %d after Ctrl-C\n%s", code, s)
	}
}
