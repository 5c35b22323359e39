package contender

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"tunnel/bench/scope"
)

// Workshop is a temporary directory in which contenders are built.
type Workshop struct {
	dir  string // for programs, keys, state
	Root string // of this module
}

// OpenWorkshop makes a workshop with certificates; the caller closes it.
func OpenWorkshop() (*Workshop, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tunnel-bench-")
	if err != nil {
		return nil, err
	}
	// Contenders that change their user must be able to read their keys.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	s := &Workshop{dir: dir, Root: root}
	if err := writeCertificates(dir); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close removes the workshop.
func (w *Workshop) Close() { _ = os.RemoveAll(w.dir) }

// File returns the path of a file in the workshop.
func (w *Workshop) File(name string) string { return filepath.Join(w.dir, name) }

// Temp makes a new directory in the workshop; the end of t removes it.
func (w *Workshop) Temp(t *scope.Scope) string {
	dir, err := os.MkdirTemp(w.dir, "run-")
	t.Must(err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// need installs missing Debian packages, given as command:package.
func (w *Workshop) need(ctx context.Context, pairs ...string) error {
	return w.command(ctx, filepath.Join(w.Root, "deploy", "need.sh"), pairs...)
}

// install builds a program of another Go module without cgo, and returns its path. at is
// PACKAGE@VERSION.
func (w *Workshop) install(ctx context.Context, at string) (string, error) {
	bin := w.File("bin")
	pkg, _, _ := strings.Cut(at, "@")
	if _, err := w.outputWith(ctx, []string{"CGO_ENABLED=0", "GOFLAGS=", "GOBIN=" + bin}, "go",
		"install", at); err != nil {
		return "", err
	}
	return filepath.Join(bin, filepath.Base(pkg)), nil
}

// command runs a program in the root of the module. The error has the program's output.
func (w *Workshop) command(ctx context.Context, name string, args ...string) error {
	_, err := w.outputWith(ctx, nil, name, args...)
	return err
}

// output is command, and returns the program's stdout and stderr.
func (w *Workshop) output(ctx context.Context, name string, args ...string) (string, error) {
	return w.outputWith(ctx, nil, name, args...)
}

// outputWith is output with additional environment variables.
func (w *Workshop) outputWith(ctx context.Context, env []string, name string,
	args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = w.Root, append(os.Environ(), env...)
	// SIGKILL could leave a package half installed
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err != nil {
		line := strings.Join(append([]string{filepath.Base(name)}, args...), " ")
		return "", fmt.Errorf("%s: %w: %s", line, err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// moduleRoot finds this module from the working directory upwards.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module tunnel\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("not within the module: run it by `go run ./bench` from the " +
				"module's directory")
		}
	}
}
