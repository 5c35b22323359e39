// Package e2e tests the whole program: the real binary on hosts that are network namespaces, with
// traffic of real programs.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tunnel/e2e/hostile"
)

// binDirEnv names the directory with the programs under test, `tunnel`, `tunnel-race` and
// `bridge-race`; TestMain sets it. It does not begin with TUNNEL_, as the program's own variables
// do.
const binDirEnv = "E2E_BIN_DIR"

// prebuiltEnv names a directory that already has the programs, so that root does not build them.
// Without it TestMain builds them.
const prebuiltEnv = "E2E_PREBUILT"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == crowdWord {
		beCrowd(os.Args[2:])
		return
	}
	if len(os.Args) > 1 && os.Args[1] == hostile.Command {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := hostile.Main(ctx, os.Args[2:], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return
	}
	code, err := testMain(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

// testMain builds the programs, runs the tests, and reports what they have left.
func testMain(m *testing.M) (code int, err error) {
	if os.Geteuid() != 0 {
		return 1, errors.New("the end-to-end tests make network namespaces: " +
			"run them as root, or through sudo")
	}
	dir, err := os.MkdirTemp("", "tunnel-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // tests without root run the programs too
		return 1, err
	}
	flag.Parse()
	if f := flag.Lookup("test.list"); f == nil || f.Value.String() == "" {
		if err := programs(dir); err != nil {
			return 1, err
		}
	}
	// The race detector sleeps for a second when a process ends, and the program may take only two.
	if err := errors.Join(os.Setenv(binDirEnv, dir),
		os.Setenv("GORACE", "atexit_sleep_ms=300")); err != nil {
		return 1, err
	}
	code = m.Run()
	return code, leftovers(dir)
}

// programs puts both builds of the program, and the bridge, into dir.
func programs(dir string) error {
	if built := os.Getenv(prebuiltEnv); built != "" {
		args := []string{"-t", dir}
		for _, name := range []string{"tunnel", "tunnel-race", "bridge-race"} {
			args = append(args, filepath.Join(built, name))
		}
		out, err := exec.CommandContext(context.Background(), "cp", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("copy the programs: %w\n%s", err, out)
		}
		return nil
	}
	if err := build("tunnel", filepath.Join(dir, "tunnel"), "CGO_ENABLED=0"); err != nil {
		return err
	}
	if err := build("tunnel", filepath.Join(dir, "tunnel-race"), "CGO_ENABLED=1",
		"-race"); err != nil {
		return err
	}
	return build("tunnel/e2e/bridge", filepath.Join(dir, "bridge-race"), "CGO_ENABLED=1", "-race")
}

// build compiles a program.
func build(pkg, out, env string, flags ...string) error {
	args := append([]string{"build", "-trimpath", "-o", out}, flags...)
	cmd := exec.CommandContext(context.Background(), "go", append(args, pkg)...)
	cmd.Env = append(os.Environ(), env)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, text)
	}
	return nil
}

// leftovers returns an error if namespaces of this process, or programs that run from dir, are
// left.
func leftovers(dir string) error {
	var errs []error
	spaces, err := filepath.Glob(fmt.Sprintf("/run/netns/tn-%d-*", os.Getpid()))
	if err != nil {
		return err
	}
	for _, ns := range spaces {
		errs = append(errs, fmt.Errorf("namespace %s is left", ns))
	}
	exes, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return err
	}
	for _, exe := range exes {
		if path, err := os.Readlink(exe); err == nil && strings.HasPrefix(path, dir+"/") {
			errs = append(errs, fmt.Errorf("%s still runs as %s", path, exe))
		}
	}
	return errors.Join(errs...)
}
