package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tunnel/admin/audit"
	"tunnel/e2e/lab"
	"tunnel/transport"
)

// A hub's hooks run once for each of 50 clients that come and go, in order and without the token;
// --on-up comes before them and --on-down after.
func TestServerHooks(t *testing.T) {
	t.Parallel()
	const crowd = 50
	server, clients := star(t, 2)
	bin, out := raceBuild(t), filepath.Join(t.TempDir(), "out")
	say := func(what string) string {
		return `test -z "$TUNNEL_TOKEN" && echo "$TUNNEL_HOOK ` + what + `" >>` + out
	}
	srv := bin.serve(t, server, "--plain",
		"--on-up", say("$TUNNEL_DEV $TUNNEL_ADDRESS $TUNNEL_PEER"),
		"--on-down", say("$TUNNEL_DEV"),
		"--on-connect", say("$TUNNEL_SESSION $TUNNEL_CLIENT_NAME $TUNNEL_CLIENT_ADDRESS "+
			"$TUNNEL_CLIENT_REMOTE"),
		"--on-disconnect", say("$TUNNEL_SESSION $TUNNEL_BYTES_IN $TUNNEL_BYTES_OUT $TUNNEL_DURATION "+
			"$TUNNEL_REASON"))
	lines := func(begin string) int {
		text, _ := os.ReadFile(out)
		return strings.Count("\n"+string(text), "\n"+begin+" ")
	}
	many := startCrowd(t, clients[0], "198.51.100.1%02d", directURL, crowd)
	eventually(t, "all have come", func() bool { return lines("on-connect") == crowd })
	stop(t, many)
	eventually(t, "all have gone", func() bool { return lines("on-disconnect") == crowd })
	cl := bin.connect(t, clients[1], directURL)
	sendFile(t, clients[1], server, "10.1.1.1", 1<<20)
	stop(t, cl)
	eventually(t, "one more has gone", func() bool { return lines("on-disconnect") == crowd+1 })
	stop(t, srv)

	text, _ := os.ReadFile(out)
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(all) != 2*crowd+4 || all[0] != "on-up tun0 10.1.1.1 10.1.1.2" ||
		all[len(all)-1] != "on-down tun0" {
		t.Errorf("%d lines:\n%s", len(all), text)
	}
	for n := 1; n <= crowd+1; n++ {
		begin := strings.Index(string(text), fmt.Sprintf("on-connect %d flag 10.1.1.", n))
		end := strings.Index(string(text), fmt.Sprintf("on-disconnect %d ", n))
		if begin < 0 || end < begin {
			t.Errorf("session %d:\n%s", n, text)
		}
	}
	last := regexp.MustCompile(`on-disconnect 51 (\d{7}) \d+ \d+ \S.*`)
	if m := last.FindStringSubmatch(string(text)); m == nil {
		t.Errorf("the last session is not told with its bytes and reason:\n%s", text)
	}
}

// Hooks that hang, fork or fail hold up neither sessions nor the hub's end, and leave nothing.
func TestServerHooksHang(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 3)
	bin := raceBuild(t)
	srv := bin.serve(t, server, "--plain", "--on-up", "echo up runs; sleep 4321", "--on-connect",
		"echo hook runs; sleep 4322 & sleep 4323 & wait", "--on-disconnect", "exit 7")
	srv.WaitFor("up runs", soon)
	var all []*lab.Proc
	for _, h := range clients {
		all = append(all, bin.connect(t, h, directURL))
		reaches(t, h, "10.1.1.1")
	}
	srv.WaitFor("hook runs", soon)
	stop(t, all[0])
	srv.WaitForNth("hook runs", 2, soon) // the first was killed after ten seconds
	srv.WaitFor(`msg="hook ended: it took too long" flag=--on-connect`, soon)
	srv.WaitFor(`msg="hook failed" flag=--on-disconnect err="exit status 7"`, 2*soon)
	begin := time.Now()
	stop(t, srv)
	// half a second each for connections and for hooks that wait; all would take hours
	if took := time.Since(begin); took > 2*time.Second+slack {
		t.Errorf("ended after %v, with %d clients", took, len(all))
	}
	eventually(t, "nothing of the hooks is left", func() bool {
		out, _, _ := server.Try("pgrep", "-f", "^sleep 432[123]$")
		return out == ""
	})
}

// A client that comes back while its first connection is dead, and not known to be, has the rule of
// its on-connect afterwards: the end of its first session comes before the begin of its next.
func TestServerHooksResume(t *testing.T) {
	t.Parallel()
	server, client := twoUplinks(t)
	bin, dir := raceBuild(t), t.TempDir()
	rules, out := t.TempDir(), filepath.Join(dir, "out")
	say := "; echo $TUNNEL_HOOK $TUNNEL_SESSION >>" + out
	srv := bin.serve(t, server, "--plain", // the ping interval of 20 s detects nothing in time
		"--on-connect", `touch "`+rules+`/$TUNNEL_CLIENT_ADDRESS"`+say,
		"--on-disconnect", `rm "`+rules+`/$TUNNEL_CLIENT_ADDRESS"`+say)
	ran := func() string {
		text, _ := os.ReadFile(out)
		return string(text)
	}
	cl := bin.connect(t, client, routedURL)
	eventually(t, "the first hook has run", func() bool { return ran() == "on-connect 1\n" })
	client.Run("ip", "link", "set", "dev", "eth0", "down")
	client.Run("ip", "route", "add", "default", "via", "10.78.0.1")
	cl.WaitForNth("up: ", 2, soon)
	const want = "on-connect 1\non-disconnect 1\non-connect 2\n"
	eventually(t, "the hooks have run", func() bool { return len(ran()) >= len(want) })
	if got := ran(); got != want {
		t.Errorf("ran\n%s", got)
	}
	if _, err := os.Stat(filepath.Join(rules, "10.1.1.3")); err != nil {
		t.Errorf("the client that is connected has no rule: %v", err)
	}
	stop(t, srv)
	if got := ran(); got != want+"on-disconnect 2\n" {
		t.Errorf("ran in the end\n%s", got)
	}
}

// Whatever a hostile hub says as it closes, the client's --on-down gets a word of this program's.
func TestOnDownHostile(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin, out := raceBuild(t), filepath.Join(t.TempDir(), "out")
	const hostile = "$(reboot) `id` '\"; PATH=/tmp"
	startBadHub(t, server, &transport.CloseError{Code: transport.CodeRevoked, Reason: hostile},
		func(int) transport.Connected { return grants("10.1.1.0/24", "10.1.1.3", "10.1.1.4") })
	cl := bin.start(t, client, "connect", directURL, "--token", token, "--state", t.TempDir(),
		"--on-down", "env >"+out)
	if code := cl.Wait(soon); code != 8 {
		t.Errorf("exit code %d", code)
	}
	text, err := os.ReadFile(out)
	if err != nil || !strings.Contains("\n"+string(text), "\nTUNNEL_REASON=token-over\n") ||
		strings.Contains(string(text), "reboot") {
		t.Errorf("%s, %v", text, err)
	}
}

// A client's --on-down is told how the session was.
func TestOnDownTold(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin, out := raceBuild(t), filepath.Join(t.TempDir(), "out")
	bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, directURL, "--on-down",
		`echo "$TUNNEL_HOOK $TUNNEL_BYTES_IN $TUNNEL_BYTES_OUT $TUNNEL_DURATION $TUNNEL_REASON" >`+out)
	sendFile(t, client, server, "10.1.1.1", 1<<20)
	stop(t, cl)
	text, err := os.ReadFile(out)
	if err != nil || !regexp.MustCompile(`^on-down \d+ 1\d{6} \d+ stopped\n$`).
		Match(text) {
		t.Errorf("%q, %v", text, err)
	}
}

// A hub that is one process has the same hooks and the same audit log.
func TestServerHooksUnsplit(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin, dir := raceBuild(t), t.TempDir()
	out, file := filepath.Join(dir, "out"), auditLog(filepath.Join(dir, "audit.log"))
	say := `echo "$TUNNEL_HOOK $TUNNEL_CLIENT_ADDRESS" >>` + out
	srv := bin.serve(t, server, "--plain", "--no-sandbox", "--audit-log", string(file), "--on-up", say,
		"--on-down", say, "--on-connect", say, "--on-disconnect", say)
	eventually(t, "--on-up has run", func() bool {
		text, _ := os.ReadFile(out)
		return strings.HasPrefix(string(text), "on-up ")
	})
	bin.connect(t, client, directURL)
	file.await(t, audit.SessionStarted, 1)
	stop(t, srv)
	text, _ := os.ReadFile(out)
	if string(text) != "on-up \non-connect 10.1.1.3\non-disconnect 10.1.1.3\non-down \n" {
		t.Errorf("%q", text)
	}
	if all := entries(t, string(file)); all[len(all)-1].Event != audit.HubStopped {
		t.Errorf("%+v", all)
	}
}
