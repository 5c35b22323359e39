package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestInvite has one machine join by a file that `tunnel invite` prints, and another by the
// command that it prints, each as it stands. Without a server nothing is made.
func TestInvite(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	bin := plainBuild(t)
	state, file := t.TempDir(), filepath.Join(t.TempDir(), "phone.yaml")
	invite := func(args ...string) (stdout, stderr string, code int) {
		return server.TryCommand(bin.command(server, append([]string{"invite", "--state", state},
			args...)...))
	}
	if _, stderr, code := invite("phone", "--yaml"); code == 0 ||
		strings.Count(stderr, "\n") != 1 {
		t.Errorf("without a server: exit code %d\n%s", code, stderr)
	}
	srv := bin.start(t, server, "serve", "--state", state, "--public", directServer)
	srv.WaitFor("listening on ", soon)
	text, stderr, code := invite("phone", "--yaml")
	if code != 0 || strings.Contains(stderr, "tnl_") {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	line, stderr, code := invite("laptop", "--expires", "10m")
	words := strings.Fields(line)
	if code != 0 || strings.Count(line, "\n") != 1 || len(words) < 3 || words[0] != "tunnel" {
		t.Fatalf("exit code %d\n%s%s", code, line, stderr)
	}
	for i, args := range [][]string{{"connect", "--config", file}, words[1:]} {
		cl := bin.start(t, clients[i], append(args, "--state", t.TempDir())...)
		cl.WaitFor("up: ", soon)
		reaches(t, clients[i], "10.1.1.1")
		stop(t, cl)
	}
	// Each is for one machine.
	_, stderr, code = clients[1].TryCommand(bin.command(clients[1], "connect", "--config", file,
		"--state", t.TempDir()))
	if code != 8 || !strings.Contains(stderr, "used by another client") {
		t.Errorf("a second client: exit code %d\n%s", code, stderr)
	}
	stop(t, srv)
}
