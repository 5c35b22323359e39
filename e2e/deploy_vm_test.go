package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tunnel/e2e/lab"
)

// deploy/vm.sh works as a user of two virtual machines runs it.
func TestVM(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	before := tables(t, client)
	root, prefix := t.TempDir(), t.TempDir()
	layOut(t, root, plainBuild(t))
	script := func(h *lab.Host, secret string, args ...string) (stdout, stderr string, code int) {
		t.Helper()
		cmd := clean(h.Command(append([]string{filepath.Join(root, "deploy", "vm.sh")},
			args...)...))
		cmd.Env = append(cmd.Env, "PREFIX="+prefix, "TUNNEL_TOKEN="+secret,
			"TUNNEL_STATE="+t.TempDir())
		return h.TryCommand(cmd)
	}

	if _, stderr, code := script(server, token); code != 2 || !strings.Contains(stderr,
		"vm.sh install") {
		t.Errorf("without arguments: exit code %d, want 2 and a usage\n%s", code, stderr)
	}
	if _, stderr, code := script(server, token, "install"); code != 0 {
		t.Errorf("install: exit code %d\n%s", code, stderr)
	}
	if info, err := os.Stat(filepath.Join(prefix, "bin", "tunnel")); err != nil ||
		info.Mode() != 0o755 {
		t.Errorf("installed: %v, %v, want mode 755", info, err)
	}
	if _, stderr, code := script(client, token, "connect", directURL, "--", "true"); code != 4 {
		t.Errorf("without a server: exit code %d, want 4\n%s", code, stderr)
	}

	cmd := clean(server.Command(filepath.Join(root, "deploy", "vm.sh"), "serve", "--plain",
		"--state", t.TempDir()))
	cmd.Env = append(cmd.Env, "PREFIX="+prefix, "TUNNEL_TOKEN="+token)
	srv := server.StartCommand(cmd)
	srv.WaitFor("vm.sh: listening on ", soon)

	out, stderr, code := script(client, token, "connect", directURL, "--", "ping", "-n", "-c3",
		"-i0.2", "-W5", "10.1.1.1")
	if code != 0 || !strings.Contains(out, "3 received") || !strings.Contains(stderr,
		"vm.sh: up: dev tun0") {
		t.Errorf("ping across: exit code %d\n%s%s", code, out, stderr)
	}
	if _, stderr, code := script(client, token, "connect", "--mtu", "1300", directURL, "--", "sh",
		"-c", "exit 42"); code != 42 {
		t.Errorf("a command that exits with 42: exit code %d\n%s", code, stderr)
	}
	_, stderr, code = script(client, "not-the-token-of-the-server", "connect", directURL, "--",
		"echo", "never")
	if code != 8 || !strings.Contains(stderr, "tunnel: auth: ") || !strings.Contains(stderr,
		"vm.sh: the token") {
		t.Errorf("wrong token: exit code %d, want 8\n%s", code, stderr)
	}
	untouched(t, client, before)

	srv.Signal(syscall.SIGTERM)
	if code := srv.Wait(soon); code != 0 {
		t.Errorf("serve: exit code %d after SIGTERM, want 0\n%s", code, srv.Stderr())
	}
	if pids := server.Pids(); len(pids) > 0 {
		t.Errorf("processes %v are left", pids)
	}
}
