package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/e2e/lab"
)

// Files that flags name are read from a shell's `<(command)`, and refused with one line if they are
// nothing that can be read to its end, or if other users may replace them: no run waits for a
// writer.
func TestFilesThatFlagsName(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	dir := t.TempDir()
	fifo, open := filepath.Join(dir, "fifo"), filepath.Join(dir, "open")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(open, "file")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for name, says := range map[string]string{
		fifo:        "it is a FIFO: give a regular file",
		"/dev/zero": "it is a device: give a regular file",
		dir:         "is a directory",
		file:        "other users may write to " + open + ", where it is (mode 0777): `chmod go-w` it",
		link:        "other users may write to " + open + ", where it is (mode 0777): `chmod go-w` it",
	} {
		flags := []string{"--token-file"}
		if name == fifo || name == link {
			flags = append(flags, "--config", "--ca")
		}
		for _, flag := range flags {
			failure{name: flag + " " + name, code: 2, step: "usage", says: says, args: []string{"connect",
				"wss://203.0.113.1:8443", "--state", t.TempDir(), flag, name}}.check(t, client, bin)
		}
	}
	failure{name: "serve", code: 2, step: "usage", says: "it is a FIFO: give a regular file",
		args: []string{"serve", "--plain", "--state", t.TempDir(), "--token-file", fifo}}.
		check(t, client, bin)
	cl := bin.startPiped(t, client, "connect", routedURL, "--state", t.TempDir())
	cl.WaitFor("up: ", soon)
	reaches(t, client, "10.1.1.1")
	stop(t, cl)
}

// startPiped starts the program with the token in a pipe without a name.
func (p program) startPiped(t *testing.T, h *lab.Host, args ...string) *lab.Proc {
	t.Helper()
	shell := []string{"bash", "-c", `exec "$@" --token-file <(echo ` + token + `)`, "bash", string(p)}
	return watch(t, h.StartCommand(clean(h.Command(append(shell, args...)...))))
}
