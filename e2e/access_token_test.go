package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The token is given in each possible way, right and wrong.
func TestTokens(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	before := tables(t, client)
	bin := plainBuild(t)
	const wrong = "wrong-token-of-another-server"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wrongFile := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrongFile, []byte(wrong+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := bin.start(t, server, "serve", "--plain", "--token-file", file, "--state", t.TempDir(),
		"--log-level", "debug")
	srv.WaitFor("listening on ", soon)

	good := bin.start(t, client, "connect", "--token-file", file, "--state", t.TempDir(),
		"--log-level", "debug", directURL)
	good.WaitFor("up: ", soon)
	stop(t, good)

	env := bin.command(client, "connect", "--state", t.TempDir())
	env.Env = append(env.Env, "TUNNEL_TOKEN="+token, "TUNNEL_URL="+directURL, "TUNNEL_DEV=fromenv",
		"TUNNEL_LOG_FORMAT=json")
	fromEnv := watch(t, client.StartCommand(env))
	fromEnv.WaitFor("up: dev fromenv,", soon)
	if !strings.Contains(fromEnv.Stderr(), `"msg":"run"`) {
		t.Errorf("the log is not JSON:\n%s", fromEnv.Stderr())
	}
	stop(t, fromEnv)

	for _, args := range [][]string{
		{"--token", wrong},
		{"--token", wrong, "--keep-trying"}, // retrying does not help
		{"--token-file", wrongFile},
		{"--token", token + "x"},
		{},
	} {
		cmd := bin.command(client, append([]string{"connect", "--state", t.TempDir(), "--log-level",
			"error", directURL}, args...)...)
		_, stderr, code := client.TryCommand(cmd)
		if code != 8 {
			t.Errorf("connect %v: exit code %d, want 8\n%s", args, code, stderr)
		}
		if lines := strings.Count(stderr, "\n"); lines != 1 {
			t.Errorf("connect %v: %d lines on stderr\n%s", args, lines, stderr)
		}
		untouched(t, client, before)
	}
	for _, p := range []string{srv.Stderr(), good.Stderr(), fromEnv.Stderr(), srv.Stdout(),
		good.Stdout()} {
		if strings.Contains(p, token) {
			t.Errorf("the token is in the log:\n%s", p)
		}
	}
}

// The server restarts with another token: a client that was connected ends instead of retrying.
func TestTokenChanges(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	before := tables(t, client)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, directURL)
	stop(t, srv)
	bin.serve(t, server, "--plain", "--token", "another-"+token)
	if code := cl.Wait(2 * soon); code != 8 {
		t.Errorf("exit code %d, want 8\n%s", code, cl.Stderr())
	}
	untouched(t, client, before)
}

// A server with an empty token file does not start. A server with --insecure-no-auth admits clients
// without a token.
func TestServeWithoutTokens(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	before := tables(t, server)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := server.TryCommand(bin.command(server, "serve", "--plain", "--state",
		t.TempDir(), "--token-file", empty)); code != 2 {
		t.Errorf("serve with an empty token file: exit code %d, want 2\n%s", code, stderr)
	}
	untouched(t, server, before)

	bin.start(t, server, "serve", "--plain", "--insecure-no-auth", "--state",
		t.TempDir()).WaitFor("listening on ", soon)
	cl := bin.start(t, client, "connect", directURL, "--state", t.TempDir())
	cl.WaitFor("up: ", soon)
	reaches(t, client, "10.1.1.1")
}
