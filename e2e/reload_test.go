package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"tunnel/e2e/hostile"
	"tunnel/e2e/lab"
)

// configFile makes a configuration file.
func configFile(t *testing.T, name, text string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), name)
	rewrite(t, file, text)
	return file
}

// rewrite replaces a file, as an editor does.
func rewrite(t *testing.T, file, text string) {
	t.Helper()
	if err := firstError(os.WriteFile(file+"~", []byte(text), 0o600),
		os.Rename(file+"~", file)); err != nil {
		t.Fatal(err)
	}
}

// reload runs `tunnel reload` on a host, which must end with a code and print all of says.
func (p program) reload(t *testing.T, h *lab.Host, code int, args []string, says ...string) {
	t.Helper()
	out, stderr, got := h.TryCommand(p.command(h, append([]string{"reload"}, args...)...))
	if got != code {
		t.Fatalf("tunnel reload %v: exit code %d, want %d\n%s%s", args, got, code, out, stderr)
	}
	for _, text := range says {
		if !strings.Contains(out+stderr, text) {
			t.Errorf("tunnel reload %v does not say %q:\n%s%s", args, text, out, stderr)
		}
	}
}

// A hub reads its configuration 20 times while a transfer and a ping go through it. Nothing is
// lost, and the client is told what concerns it. What is wrong or not this user's alone changes
// nothing.
func TestReload(t *testing.T) {
	server, client, inOffice, other, router := linkOffice(t, lab.New(t))
	noJournals(t, router)
	inOffice.Run("ip", "route", "add", "10.1.1.0/24", "via", "192.168.7.1")
	bin, state := plainBuild(t), t.TempDir()
	const office, both = "192.168.7.0/24", "[192.168.7.0/24, 192.168.8.0/24]"
	file := configFile(t, "serve.yaml", "push-route: "+office+"\n")
	srv := bin.start(t, server, "serve", "--plain", "--state", state, "--config", file)
	srv.WaitFor("listening on ", soon)
	text := bin.token(t, server, state, "create", "laptop")
	connect := func() *lab.Proc {
		return bin.start(t, router, "connect", "--token", text, "--state", t.TempDir(), routedURL)
	}
	cl := bin.start(t, client, "connect", "--token", text, "--state", t.TempDir(), routedURL)
	cl.WaitFor("up: ", soon)
	eventually(t, "the client has the first route", func() bool { return hasRoute(client, office) })
	x := startExchange(t, client, inOffice, "192.168.7.9")
	ping := client.Start("ping", "-n", "-i", "0.02", "-W", "5", "10.1.1.1")
	ofHub := []string{"--state", state}

	lines := 0
	for i := range 20 {
		pushed, has := office, i%4 == 0
		if has {
			pushed = both
		}
		// The client takes 10 changes of its routes at once, and then one a minute.
		if i > 8 {
			pushed, has = office, false
		}
		rewrite(t, file, fmt.Sprintf("push-route: %s\nmax-sessions: %d\ndns: 192.168.7.%d\n", pushed,
			i+3, i+1))
		if lines++; i%2 == 0 {
			bin.reload(t, server, 0, ofHub, "read again: ", "max-sessions", "(at once)")
		} else {
			kill(t, srv.Pid(), syscall.SIGHUP)
			srv.WaitForNth("configuration read again", lines, soon)
		}
		x.flows(soon)
		eventually(t, fmt.Sprintf("the client has the routes of reload %d", i), func() bool {
			return hasRoute(client, "192.168.8.0/24") == has && hasRoute(client, office)
		})
		if i == 4 {
			reaches(t, client, "192.168.8.9")
			reaches(t, other, "10.1.1.3")
		}
	}
	cannotReach(t, other, "10.1.1.3")

	// The firewall of this machine goes with it, although no client has to be told.
	for _, on := range []bool{true, false} {
		rewrite(t, file, fmt.Sprintf("push-route: %s\nmasquerade: %v\n", office, on))
		bin.reload(t, server, 0, ofHub, "masquerade")
		eventually(t, fmt.Sprintf("the firewall masquerades: %v", on), func() bool {
			return strings.Contains(server.Run("nft", "list", "ruleset"), "masquerade") == on
		})
	}

	// Limits hold for who comes, and not for who is there.
	rewrite(t, file, "push-route: "+office+"\nmax-sessions: 1\n")
	bin.reload(t, server, 0, ofHub, "max-sessions")
	second := connect()
	if code := second.Wait(soon); code != 9 {
		t.Errorf("a second session: exit code %d\n%s", code, second.Stderr())
	}

	// All that is wrong is said, and nothing of it holds.
	rewrite(t, file, "push-route: 8.8.8.8.8\nmax-sessions: -3\nmax-session: 4\nlog-level: debug\n")
	bin.reload(t, server, 2, ofHub, file+":1: push-route", file+":2: max-sessions",
		file+":3:1: max-session: unknown key: did you mean max-sessions?", "nothing was changed")
	kill(t, srv.Pid(), syscall.SIGHUP)
	srv.WaitForNth("the configuration is as it was", 2, soon)
	rewrite(t, file, "max-sessions: 9\n")
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	bin.reload(t, server, 2, ofHub, "other users may write to it (mode 0666)", "nothing was changed")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	bin.reload(t, server, 2, ofHub, "no such file", "nothing was changed")
	if strings.Contains(srv.Stderr(), "level=DEBUG") || !hasRoute(client, office) {
		t.Errorf("a bad file has changed something\n%s", srv.Stderr())
	}

	// What needs a restart is named, and the rest holds.
	rewrite(t, file, "push-route: "+office+"\nnetwork: 10.9.9.0/24\nmax-sessions: 2\nmtu: 1300\n"+
		"log-level: debug\n")
	bin.reload(t, server, 20, ofHub, "max-sessions", "log-level", "needs a restart",
		"network ("+file+":2)", "mtu ("+file+":4)")
	srv.WaitFor("needs_a_restart=\"[network ("+file+":2) mtu ("+file+":4)]\"", soon)
	second = connect()
	second.WaitFor("up: ", soon)
	srv.WaitFor("level=DEBUG", soon)
	stop(t, second)

	x.flows(soon)
	x.finish()
	ping.Signal(syscall.SIGINT)
	ping.Wait(soon)
	if lost := packetsLost(t, ping); lost != 0 {
		t.Errorf("%d packets were lost\n%s", lost, ping.Stdout())
	}
	t.Logf("%d bytes by one connection, and %s", x.received(),
		strings.TrimSpace(ping.Stdout()[strings.LastIndex(ping.Stdout(), "---\n")+4:]))
	if n := len(stdoutLines(cl, "up: ")); n != 1 {
		t.Errorf("the client was up %d times", n)
	}
	for _, bad := range []string{"refused a request", "not as it should be", "control socket"} {
		if strings.Contains(srv.Stderr(), bad) {
			t.Errorf("the log has %q\n%s", bad, srv.Stderr())
		}
	}
	stop(t, cl)
	stop(t, srv)
}

// Hub and client read another token. The session goes on; the next one uses the new token, and the
// old one opens the hub no more.
func TestReloadToken(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin, state := plainBuild(t), t.TempDir()
	const fresh = "another-token-5b1e3c7d9f20a846"
	secret := configFile(t, "token", token+"\n")
	file := configFile(t, "connect.yaml", "url: "+directURL+"\ntoken-file: "+secret+"\n")
	srv := bin.start(t, server, "serve", "--plain", "--state", state, "--token-file", secret)
	srv.WaitFor("listening on ", soon)
	cl := bin.start(t, client, "connect", "--config", file, "--state", t.TempDir(), "--log-level",
		"debug")
	cl.WaitFor("up: ", soon)
	x := startExchange(t, client, server, "10.1.1.1")
	rewrite(t, secret, "")
	bin.reload(t, server, 2, []string{"--state", state}, "--token-file", "is empty")
	bin.reload(t, client, 2, nil, "--token-file", "is empty", "--dev tun0 goes on")
	rewrite(t, secret, fresh+"\n")
	bin.reload(t, server, 0, []string{"--state", state}, "read again: the files of token-file")
	bin.reload(t, client, 0, []string{"--config", file}, "read again: the files of token-file")
	x.flows(soon)
	old := bin.startConnect(t, client, directURL, "--dev", "tun1")
	if code := old.Wait(soon); code != 8 {
		t.Errorf("with the old token: exit code %d\n%s", code, old.Stderr())
	}
	server.TryCommand(bin.command(server, "kick", "--state", state, "flag"))
	cl.WaitForNth("msg=connected", 2, soon)
	x.flows(soon)
	x.finish()

	// A hook and the level of the log hold at once; a URL does not.
	mark := filepath.Join(t.TempDir(), "mark")
	rewrite(t, file, "url: ws://198.51.100.77\ntoken-file: "+secret+"\non-down: touch "+mark+"\n")
	bin.reload(t, client, 20, []string{"--dev", "tun0"}, "on-down (at once)",
		"needs a restart: url ("+file+":1)")
	bin.reload(t, client, 18, []string{"--dev", "tun7"}, "no such client or server")
	stop(t, cl)
	if _, err := os.Stat(mark); err != nil {
		t.Errorf("the new hook did not run: %v", err)
	}
	for _, proc := range []*lab.Proc{srv, cl} {
		if strings.Contains(proc.Stderr(), fresh) {
			t.Errorf("the log has the token\n%s", proc.Stderr())
		}
	}
}

// SIGHUP ends a run on a terminal only, also when there are many.
func TestHangups(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := raceBuild(t)
	srv := bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, directURL)
	x := startExchange(t, client, server, "10.1.1.1")
	for range 100 {
		kill(t, srv.Pid(), syscall.SIGHUP)
		kill(t, cl.Pid(), syscall.SIGHUP)
		kill(t, srv.Worker(), syscall.SIGHUP)
		time.Sleep(2 * time.Millisecond)
	}
	srv.WaitFor("configuration read again", soon)
	cl.WaitFor("configuration read again", soon)
	x.flows(soon)
	x.finish()
	stop(t, cl)
	stop(t, srv)
}

// A hook that a reload has given runs also if the worker is killed, which was up before.
func TestReloadHook(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	text := "url: " + directURL + "\ntoken: " + token + "\n"
	file := configFile(t, "connect.yaml", text)
	cl := bin.start(t, client, "connect", "--config", file, "--state", t.TempDir())
	cl.WaitFor("up: ", soon)
	mark := filepath.Join(t.TempDir(), "mark")
	rewrite(t, file, text+"on-down: touch "+mark+"\n")
	bin.reload(t, client, 0, nil, "on-down (at once)")
	kill(t, cl.Worker(), syscall.SIGKILL)
	cl.Wait(soon)
	if _, err := os.Stat(mark); err != nil {
		t.Errorf("the new hook did not run: %v\n%s", err, cl.Stderr())
	}
}

// A reload that this machine cannot follow says so, each time, and who asked for it is in the audit
// log.
func TestReloadFails(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin, state, path := plainBuild(t), t.TempDir(), t.TempDir()
	ip, err := exec.LookPath("ip")
	if err == nil {
		err = os.Symlink(ip, filepath.Join(path, "ip")) // and no nft
	}
	if err != nil {
		t.Fatal(err)
	}
	file, log := configFile(t, "serve.yaml", ""), filepath.Join(t.TempDir(), "audit.log")
	srv := watch(t, server.StartCommand(clean(server.Command("env", "PATH="+path, string(bin), "serve",
		"--plain", "--token", token, "--state", state, "--config", file, "--audit-log", log))))
	srv.WaitFor("listening on ", soon)
	rewrite(t, file, "masquerade: true\nmax-sessions: 3\n")
	for _, applied := range []string{"masquerade, max-sessions (at once)", "no value has changed"} {
		bin.reload(t, server, 20, []string{"--state", state}, applied, "not all of it holds: firewall: ",
			"nft")
	}
	// Nothing that the firewall does not guard is let through.
	s := dialSessionAs(t, client, token, "ip")
	out := hostile.Frame(0x82, echoRequest(t, s.address, "203.0.113.9", 0))
	if _, err := s.conn.Write(out); err != nil {
		t.Fatal(err)
	}
	refused := regexp.MustCompile(`"destination":\s*[1-9]`)
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		told := server.Run(string(bin), "status", "--json", "--state", state)
		if refused.MatchString(told) {
			break
		}
		if time.Since(began) > soon {
			t.Fatalf("a packet for a public address is not refused: %s", told)
		}
	}
	_ = s.conn.Close()
	rewrite(t, file, "max-sessions: 3\n")
	bin.reload(t, server, 0, []string{"--state", state}, "masquerade (at once)")
	kill(t, srv.Pid(), syscall.SIGHUP)
	srv.WaitForNth("configuration read again", 4, soon)
	stop(t, srv)
	lines, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`(?m)^.*"event":"config_reloaded".*$`).FindAllString(string(lines), -1)
	if len(all) != 4 || !strings.Contains(all[0], `"uid":0`) || strings.Contains(all[3], `"uid"`) {
		t.Errorf("the audit log has\n%s", lines)
	}
}
