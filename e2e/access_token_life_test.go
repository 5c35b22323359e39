package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// serveFresh starts a server without flags, and returns it with the connect command that it prints.
func (p program) serveFresh(t *testing.T, h *lab.Host, state string) (proc *lab.Proc, line string) {
	t.Helper()
	proc = p.start(t, h, "serve", "--state", state)
	return proc, strings.TrimSpace(proc.WaitFor("tunnel connect ", soon))
}

// token runs `tunnel token` on a state directory and returns what it prints.
func (p program) token(t *testing.T, h *lab.Host, state string, args ...string) string {
	t.Helper()
	stdout, stderr, code := h.TryCommand(p.command(h, append(append([]string{"token"}, args...),
		"--state", state)...))
	if code != 0 {
		t.Fatalf("token %v: exit code %d\n%s", args, code, stderr)
	}
	return strings.TrimSpace(stdout)
}

// givesUp checks that a client ends because of its token, with one line that contains why.
func givesUp(t *testing.T, proc *lab.Proc, why string) {
	t.Helper()
	if code := proc.Wait(soon); code != 8 {
		t.Errorf("exit code %d, want 8\n%s", code, proc.Stderr())
	}
	last := ""
	for line := range strings.Lines(proc.Stderr()) {
		last = line
	}
	if !strings.HasPrefix(last, "tunnel: auth: ") || !strings.Contains(last, why) {
		t.Errorf("the last line is %q, want %q in it", last, why)
	}
}

// A server's first start prints a connect command, which works on another host. The next start
// prints no secret.
func TestFirstToken(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := raceBuild(t)
	state := t.TempDir()
	srv, line := bin.serveFresh(t, server, state)
	text := regexp.MustCompile(`^tunnel connect wss://` + regexp.QuoteMeta(directServer) +
		`:8443 --pin sha256:\S{44} --token (tnl_\S+)$`).FindStringSubmatch(line)
	if text == nil || strings.Count(srv.Stdout(), text[1]) != 1 || !strings.Contains(srv.Stdout(),
		"shown this once") {
		t.Fatalf("the server prints\n%s", srv.Stdout())
	}
	// Until a client has connected with the token it may have been lost.
	const lost = "if it is lost, make another with `tunnel token create NAME`"
	stop(t, srv)
	if strings.Contains(srv.Stderr(), lost) {
		t.Errorf("the first start says: %s", lost)
	}
	srv, _ = bin.serveFresh(t, server, state)
	srv.WaitFor(lost, soon)

	cl := bin.paste(t, client, line, "")
	cl.WaitFor("up: ", soon)
	reaches(t, client, "10.1.1.1")
	if list := bin.token(t, server, state, "list"); !regexp.MustCompile(
		`(?m)^first +token +.* 10\.1\.1\.3 from 198\.51\.100\.2:\d+$`).
		MatchString(list) {
		t.Errorf("list of the running server:\n%s", list)
	}
	stop(t, srv)
	if list := bin.token(t, server, state, "list"); !regexp.MustCompile(
		`(?m)^first +token +- +- +- +- +- +never +- +2\S+ \S+ +2\S+ \S+ +-$`).
		MatchString(list) {
		t.Errorf("list of the stopped server:\n%s", list)
	}
	again, other := bin.serveFresh(t, server, state)
	if want := strings.Replace(line, "--token "+text[1], "--token-file FILE", 1); other != want {
		t.Errorf("then it prints %q, want %q", other, want)
	}
	cl.WaitForNth("up: ", 2, soon)
	if strings.Contains(again.Stderr(), lost) {
		t.Errorf("a start after its use says: %s", lost)
	}
	for _, text := range []string{again.Stdout(), again.Stderr(), srv.Stderr(), cl.Stderr(),
		cl.Stdout()} {
		if strings.Contains(text, "tnl_") {
			t.Errorf("a token is shown once more, or in a log:\n%s", text)
		}
	}
	if !strings.Contains(srv.Stderr(), "token=first") {
		t.Errorf("the log does not name the token:\n%s", srv.Stderr())
	}
	bin.token(t, server, state, "revoke", "first")
	givesUp(t, cl, "the token was revoked")
	stop(t, again)
	// A server whose last token was revoked makes no new one.
	empty := bin.start(t, server, "serve", "--state", state)
	empty.WaitFor("no client can connect", soon)
	if strings.Contains(empty.Stdout(), "tunnel connect") {
		t.Errorf("stdout:\n%s", empty.Stdout())
	}
}

// Revoking a token ends its session during a transfer; another client's session goes on.
func TestTokenRevoked(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	bin := raceBuild(t)
	state := t.TempDir()
	text := bin.token(t, server, state, "create", "laptop") // while no server runs
	srv := bin.serve(t, server, "--plain", "--state", state)
	other := bin.connect(t, clients[1], directURL)
	before := tables(t, clients[0])
	cl := bin.startConnect(t, clients[0], directURL, "--token", text)
	cl.WaitFor("up: ", soon)
	receiver := server.Start("sh", "-c", "nc -d -l 10.1.1.1 9000 >/dev/null")
	listening(t, server, 9000)
	clients[0].Start("sh", "-c", "exec nc 10.1.1.1 9000 </dev/zero")
	received :=
		func() string { return server.Run("cat", "/sys/class/net/tun0/statistics/rx_bytes") }
	at := received()
	eventually(t, "the transfer runs", func() bool { return received() != at })

	bin.token(t, server, state, "revoke", "laptop")
	began := time.Now()
	givesUp(t, cl, "the token was revoked")
	if took := time.Since(began); took > time.Second+slack {
		t.Errorf("it took %v", took)
	}
	untouched(t, clients[0], before)
	reaches(t, clients[1], "10.1.1.1")
	_, stderr, code := clients[0].TryCommand(bin.command(clients[0], "connect", "--token", text,
		"--state", t.TempDir(), "--log-level", "error", directURL))
	if code != 8 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr,
		"401 Unauthorized: the token was revoked: ask for a new token") {
		t.Errorf("connect with a revoked token: exit code %d\n%s", code, stderr)
	}
	receiver.Kill()
	if strings.Contains(srv.Stderr()+cl.Stderr()+other.Stderr(), text[4:]) {
		t.Error("the token is in a log")
	}
}

// A token expires during a session, which ends.
func TestTokenExpires(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	state := t.TempDir()
	bin.serve(t, server, "--plain", "--state", state)
	text := bin.token(t, server, state, "create", "short", "--expires", "8s")
	began := time.Now()
	cl := bin.start(t, client, "connect", directURL, "--token", text, "--state", t.TempDir())
	cl.WaitFor("up: ", soon)
	givesUp(t, cl, "the token has expired")
	if took := time.Since(began); took < 6*time.Second || took > 9*time.Second+slack {
		t.Errorf("ended %v after it was made for 8s", took)
	}
	later := bin.start(t, client, "connect", directURL, "--token", text, "--state", t.TempDir(),
		"--keep-trying")
	givesUp(t, later, "401 Unauthorized: the token has expired: ask for a new token")
}

// A join token admits one client for good. A second client is refused, and so is the first one
// without its credential.
func TestJoinToken(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	bin := raceBuild(t)
	state, kept := t.TempDir(), t.TempDir()
	srv := bin.serve(t, server, "--plain", "--state", state)
	join := bin.token(t, server, state, "create", "--once", "phone")
	first := bin.start(t, clients[0], "connect", directURL, "--token", join, "--state", kept)
	up := first.WaitFor("up: ", soon)
	file := filepath.Join(kept, "credential-tun0.json")
	data, err := os.ReadFile(file)
	info, statErr := os.Stat(file)
	if err := errors.Join(err, statErr); err != nil || info.Mode().Perm() != 0o600 ||
		!strings.Contains(string(data), "tnl_") || strings.Contains(string(data), join) {
		t.Errorf("the file of credentials: %v, %v", info, err)
	}
	refused := func(why string) {
		t.Helper()
		_, stderr, code := clients[1].TryCommand(bin.command(clients[1], "connect", "--token", join,
			"--state", t.TempDir(), "--log-level", "error", directURL))
		if code != 8 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, why) {
			t.Errorf("the second client: exit code %d\n%s", code, stderr)
		}
	}
	refused("used by another client")
	reaches(t, clients[0], "10.1.1.1")
	// A client that was killed before it stored the credential can use the join token again.
	first.Kill()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	first = bin.start(t, clients[0], "connect", directURL, "--token", join, "--state", kept)
	first.WaitFor(up, soon)
	if now, err := os.ReadFile(file); err != nil || string(now) != string(data) {
		t.Errorf("the second time it got another credential (%v)", err)
	}
	stop(t, first)
	// From now on the client needs no token, and the join token is spent.
	for _, args := range [][]string{{}, {"--token", join}} {
		cl := bin.start(t, clients[0], append([]string{"connect", directURL, "--state", kept},
			args...)...)
		cl.WaitFor(up, soon)
		reaches(t, clients[0], "10.1.1.1")
		refused("401 Unauthorized: the join token was used by another client: ask for a new token")
		stop(t, cl)
	}
	last := bin.start(t, clients[0], "connect", directURL, "--state", kept)
	last.WaitFor(up, soon)
	if list := bin.token(t, server, state, "list"); !regexp.MustCompile(
		`(?m)^phone +credential +- +- +- +- +1 +never `).MatchString(list) {
		t.Errorf("list:\n%s", list)
	}
	bin.token(t, server, state, "revoke", "phone")
	givesUp(t, last, "the token was revoked")
	for _, text := range []string{srv.Stderr(), srv.Stdout(), first.Stderr(), last.Stderr()} {
		if strings.Contains(text, "tnl_") {
			t.Errorf("a token is in a log:\n%s", text)
		}
	}
}

// A token's reserved address belongs to its holder's newest connection.
func TestTokenAddress(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 3)
	bin := plainBuild(t)
	state := t.TempDir()
	text := bin.token(t, server, state, "create", "printer", "--address", "10.1.1.3")
	bin.serve(t, server, "--plain", "--state", state)
	other := bin.connect(t, clients[0], directURL)
	other.WaitFor("address 10.1.1.5 ", soon) // not the first of the pool
	old := bin.startConnect(t, clients[1], directURL, "--token", text)
	old.WaitFor("up: dev tun0, address 10.1.1.3 ", soon)
	old.Signal(syscall.SIGSTOP)
	bin.startConnect(t, clients[2], directURL, "--token",
		text).WaitFor("up: dev tun0, address 10.1.1.3 ", soon)
	reaches(t, clients[2], "10.1.1.1")
	old.Signal(syscall.SIGTERM)
	old.Signal(syscall.SIGCONT)
	old.Wait(soon)
	for _, args := range [][]string{{"--address", "10.1.1.5"}, {"--address", "10.1.1.4"},
		{"--address", "10.2.2.3"}, {"--route", "10.1.0.0/16"}} {
		_, stderr, code := server.TryCommand(bin.command(server, append([]string{"token", "create",
			"x", "--state", state}, args...)...))
		if code != 2 || strings.Count(stderr, "\n") != 1 {
			t.Errorf("token create %v: exit code %d\n%s", args, code, stderr)
		}
	}
}

// A second server on the same state directory is refused and does not disturb the first.
func TestStateLocked(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	state := t.TempDir()
	bin.serve(t, server, "--plain", "--state", state)
	cl := bin.connect(t, client, directURL)
	_, stderr, code := server.TryCommand(bin.command(server, "serve", "--plain", "--state", state,
		"--dev", "tun7", "--network", "10.9.9.0/24",
		"--listen", ":9443", "--log-level", "error"))
	if code != 13 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr,
		"another server uses this state directory") {
		t.Errorf("a second server: exit code %d\n%s", code, stderr)
	}
	bin.token(t, server, state, "create", "x") // served by the first server
	reaches(t, client, "10.1.1.1")
	if strings.Contains(cl.Stdout(), "down: ") {
		t.Error("the client noticed")
	}
}

// A damaged state file is reported, and a socket that a killed server has left does no harm.
func TestStateDamaged(t *testing.T) {
	t.Parallel()
	server, _ := direct(t)
	bin := plainBuild(t)
	state := t.TempDir()
	srv := bin.serve(t, server, "--plain", "--state", state)
	bin.token(t, server, state, "create", "x")
	srv.Kill()
	if _, err := os.Stat(filepath.Join(state, "control.sock")); err != nil {
		t.Errorf("no socket is left to test with: %v", err)
	}
	bin.token(t, server, state, "create", "y") // directly in the file: no server runs
	srv = bin.serve(t, server, "--plain", "--state", state)
	if list := bin.token(t, server, state, "list"); !strings.Contains(list, "\nx ") ||
		!strings.Contains(list, "\ny ") {
		t.Errorf("list:\n%s", list)
	}
	stop(t, srv)
	before := tables(t, server)
	file := filepath.Join(state, "tunnel.db")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	clear(data[:len(data)/2])
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"serve", "--plain", "--token", token, "--log-level", "error"},
		{"token", "list"}} {
		_, stderr, code := server.TryCommand(bin.command(server, append(args, "--state", state)...))
		if code != 13 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr,
			file+": the file is damaged") {
			t.Errorf("%v: exit code %d\n%s", args, code, stderr)
		}
	}
	untouched(t, server, before)
}

// The disk of the state directory is full: connected clients stay, known clients come back, and
// commands that have to write report the error.
func TestStateDiskFull(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	disk := smallDisk(t)
	state := filepath.Join(disk, "state")
	srv := bin.serve(t, server, "--plain", "--state", state)
	cl := bin.connect(t, client, directURL)
	filler := fill(t, disk)
	reaches(t, client, "10.1.1.1")
	for i := range 2 {
		client.Run("ss", "-K", "dst", directServer, "dport", "=", "8443")
		cl.WaitForNth("up: ", i+2, soon)
	}
	reaches(t, client, "10.1.1.1")
	stderr, code := "", 0
	for i := 0; code == 0 && i < 50; i++ { // the file may have unused pages
		_, stderr, code = server.TryCommand(bin.command(server, "token", "create",
			fmt.Sprint("x", i), "--state", state))
	}
	if code != 13 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr,
		"the disk is full") {
		t.Errorf("token create: exit code %d\n%s", code, stderr)
	}
	_, stderr, code = server.TryCommand(bin.command(server, "serve", "--plain", "--token", token,
		"--state", filepath.Join(disk, "new"), "--dev", "tun7",
		"--network", "10.9.9.0/24", "--listen", ":9443", "--log-level", "error"))
	if code != 13 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr,
		"the disk is full: make room") {
		t.Errorf("serve on a new directory: exit code %d\n%s", code, stderr)
	}
	// A restart needs no space either.
	stop(t, srv)
	bin.serve(t, server, "--plain", "--state", state)
	cl.WaitForNth("up: ", 4, soon)
	if ups := stdoutLines(cl, "up: "); ups[0] != ups[3] {
		t.Errorf("it came back differently: %q", ups)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	bin.token(t, server, state, "create", "y")
}
