package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Builds of the working tree and of a clone in another directory, with flags in the environment,
// are identical byte for byte, and so are packages and the signature of their checksums. With -all
// the clone has its own build cache, so that nothing is shared: a build in which the directory
// counts shares nothing anyway.
func TestReproducible(t *testing.T) {
	t.Parallel()
	first, second := filepath.Join(t.TempDir(), "first"), filepath.Join(t.TempDir(), "a", "much",
		"longer", "path")
	run := func(dir string, env []string, argv ...string) string {
		t.Helper()
		return runIn(t, dir, env, argv...)
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
	env := []string{"GOFLAGS=-tags=other -buildvcs=true", "CGO_ENABLED=1", "GOAMD64="}
	if *allCases {
		env = append(env, "GOCACHE="+t.TempDir())
	}
	run(second, env, "make", "build")
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
	testPackages(t, first, second, env)
}

// testPackages builds packages in two directories, in the second with other defaults of the
// environment, and checks them with what is published beside them.
func testPackages(t *testing.T, first, second string, env []string) {
	key := filepath.Join(t.TempDir(), "key")
	runIn(t, ".", nil, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key)
	argv := []string{"make", "packages", "ARCH=" + runtime.GOARCH, "SIGN_KEY=" + key}
	want := 6
	if !*allCases { // the tool is large, and has to be compiled
		argv, want = append(argv, "SBOM="), 5
	}
	runIn(t, first, nil, argv...)
	runIn(t, second, append(env, "TZ=Asia/Tokyo", "LC_ALL=C.UTF-8"),
		append([]string{"sh", "-c", `umask 077; exec "$@"`, "sh"}, argv...)...)
	for _, name := range []string{"SHA256SUMS", "SHA256SUMS.sig"} {
		built := runIn(t, first, nil, "cat", "dist/"+name)
		if other := runIn(t, second, nil, "cat", "dist/"+name); built != other {
			t.Errorf("%s differs:\n%s\n%s", name, built, other)
		}
	}
	for _, dir := range []string{first, second} {
		dir = filepath.Join(dir, "dist")
		if files := strings.Fields(runIn(t, dir, nil, "ls")); len(files) != want {
			t.Errorf("%q; want three packages, checksums, a signature, with -all an SBOM", files)
		}
		runIn(t, dir, nil, "sha256sum", "--check", "--strict", "SHA256SUMS")
	}

	// As docs/OPERATIONS.md tells users.
	verify := `cd dist && { printf 'tunnel '; cat "$1.pub"; } >signers &&
		ssh-keygen -Y verify -f signers -I tunnel -n tunnel -s SHA256SUMS.sig <SHA256SUMS`
	runIn(t, first, nil, "sh", "-c", verify, "sh", key)
	if err := os.WriteFile(filepath.Join(second, "dist", "SHA256SUMS"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", verify, "sh", key)
	cmd.Dir = second
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("the signature of other checksums is good\n%s", out)
	}

	if *allCases {
		checkBOM(t, runIn(t, first, nil, "sh", "-c", "cat dist/*.cdx.json"))
	}
}

// checkBOM checks an SBOM in CycloneDX's JSON.
func checkBOM(t *testing.T, text string) {
	t.Helper()
	var bom struct {
		BOMFormat  string
		Components []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(text), &bom); err != nil || bom.BOMFormat != "CycloneDX" ||
		!strings.Contains(text, "github.com/songgao/water") {
		t.Errorf("the SBOM: %v, %q, %d components", err, bom.BOMFormat, len(bom.Components))
	}
}

// runIn runs a command in a directory, and returns its output.
func runIn(t *testing.T, dir string, env []string, argv ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.Dir = dir
	// git must trust a checkout of another user. A commit needs an author.
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
