package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Builds of the working tree and of a clone in another directory, with its own build cache and with
// flags in the environment, are identical byte for byte.
func TestReproducible(t *testing.T) {
	t.Parallel()
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "a", "much",
		"longer", "path")
	run := func(dir string, env []string, argv ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
		cmd.Dir = dir
		// git must trust a checkout of another user. The commit below needs an author.
		cmd.Env = append(append(os.Environ(), "GIT_CONFIG_COUNT=1",
			"GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
			"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@test.invalid", "GIT_COMMITTER_NAME=test",
			"GIT_COMMITTER_EMAIL=test@test.invalid"), env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
		}
		return string(out)
	}
	// Uncommitted changes are built, too.
	for name := range strings.SplitSeq(strings.TrimSuffix(run("..", nil, "git", "ls-files", "-z",
		"--cached", "--others", "--exclude-standard"), "\x00"), "\x00") {
		data, err := os.ReadFile(filepath.Join("..", name))
		if os.IsNotExist(err) {
			continue // removed, but not committed
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(first, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(first, nil, "git", "init", "-q", "-b", "main")
	run(first, nil, "git", "add", "-A")
	run(first, nil, "git", "commit", "-qm", "All")
	run(first, nil, "git", "gc", "-q")
	run(first, nil, "git", "clone", "-q", "--no-local", "--depth", "1", "file://"+first, second)
	run(first, nil, "make", "build")
	run(second, []string{"GOCACHE=" + t.TempDir(), "GOFLAGS=-tags=other -buildvcs=true",
		"CGO_ENABLED=1", "GOAMD64="}, "make", "build")
	var built [2][]byte
	for i, dir := range []string{first, second} {
		data, err := os.ReadFile(filepath.Join(dir, "bin", "tunnel"))
		if err != nil {
			t.Fatal(err)
		}
		built[i] = data
		if bytes.Contains(data, []byte(dir)) {
			t.Errorf("the binary names %s", dir)
		}
	}
	if !bytes.Equal(built[0], built[1]) {
		t.Errorf("the binaries differ: %d and %d bytes", len(built[0]), len(built[1]))
	}
	if v := run(first, nil, "bin/tunnel", "version"); len(strings.TrimSpace(v)) != 12 {
		t.Errorf("the version is %q; want a commit of 12 digits", v)
	}
}
