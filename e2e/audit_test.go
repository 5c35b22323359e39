package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/admin/audit"
	"tunnel/e2e/lab"
)

// auditLog is the file of an audit log.
type auditLog string

// entries returns what files of an audit log have, each line of which must be one entry.
func entries(t *testing.T, files ...string) (all []audit.Entry) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var e audit.Entry
			decoder := json.NewDecoder(strings.NewReader(line))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&e); err != nil || !strings.HasSuffix(line, "\n") {
				t.Fatalf("%s: %q: %v", file, line, err)
			}
			all = append(all, e)
		}
	}
	return all
}

// await waits until the file has n entries about an event, and returns them.
func (a auditLog) await(t *testing.T, event audit.Event, n int) (all []audit.Entry) {
	t.Helper()
	eventually(t, fmt.Sprintf("the audit log has %d of %s", n, event), func() bool {
		all = slices.DeleteFunc(entries(t, string(a)),
			func(e audit.Entry) bool { return e.Event != event })
		return len(all) >= n
	})
	return all
}

// Who did what is in the audit log: tokens with the user, sessions with bytes and certificate, and
// what others send forges nothing.
func TestAuditLog(t *testing.T) {
	t.Parallel()
	const payload = 5 << 20
	server, clients := star(t, 3)
	bin, state := raceBuild(t), t.TempDir()
	ca, dir := newAuthority(t), t.TempDir()
	file := auditLog(filepath.Join(dir, "audit.log"))
	secret := bin.token(t, server, state, "create", "early", "--route", "192.168.7.0/24")
	srv, line := bin.serveOwnKey(t, server, "--state", state, "--client-ca", ca.File, "--audit-log",
		string(file), "--public", directServer)
	pin := regexp.MustCompile(`sha256:\S+`).FindString(line)
	if info, err := os.Stat(string(file)); err != nil || info.Mode() != 0o600 ||
		info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("the file is %v, %v", info, err)
	}
	join := bin.token(t, server, state, "create", "--once", "phone")
	bySudo(t, server, string(bin), "token", "create", "behind-sudo", "--state", state)
	bin.token(t, server, state, "set", "early", "--route", "none")
	cert, key := ca.issueClient(t, time.Now().Add(time.Hour), "laptop.example")
	connect := func(h *lab.Host, token string) *lab.Proc {
		return bin.start(t, h, "connect", "wss://"+directServer+":8443", "--pin", pin, "--state",
			t.TempDir(), "--token", token, "--tls-cert", cert, "--tls-key", key)
	}
	first, second := connect(clients[0], secret), connect(clients[1], join)
	first.WaitFor("up: ", soon)
	second.WaitFor("up: ", soon)
	sendFile(t, clients[0], server, "10.1.1.1", payload)
	bad := connect(clients[2], "tnl_aaaaaaaaaa_wrong-wrong-wrong-wrong")
	if code := bad.Wait(soon); code == 0 {
		t.Error("a wrong token is taken")
	}
	server.Run(string(bin), "kick", "phone", "--for", "100ms", "--state", state)
	second.WaitForNth("up: ", 2, soon)
	bin.token(t, server, state, "revoke", "early")
	if code := first.Wait(soon); code != 8 {
		t.Errorf("a client without its token: exit code %d", code)
	}
	stop(t, srv)

	all := entries(t, string(file))
	find := func(event audit.Event, token string) audit.Entry {
		t.Helper()
		at := slices.IndexFunc(all, func(e audit.Entry) bool {
			return e.Event == event && e.Token == token
		})
		if at < 0 {
			t.Errorf("lacks %s of %q: %+v", event, token, all)
			return audit.Entry{}
		}
		return all[at]
	}
	root := func(e audit.Entry) bool { return e.UID != nil && *e.UID == 0 && e.User == "root" }
	early, once := find(audit.TokenCreated, "early"), find(audit.TokenCreated, "phone")
	if !root(early) || !root(once) || once.Kind != "join" || early.Grant == nil ||
		len(*early.Grant.Routes) != 1 {
		t.Errorf("made: %+v, %+v", early, once)
	}
	if e := find(audit.TokenChanged, "early"); !root(e) || len(*e.Grant.Routes) != 0 {
		t.Errorf("changed: %+v", e)
	}
	if e := find(audit.Kicked, "phone"); !root(e) || e.Sessions != 1 {
		t.Errorf("kicked: %+v", e)
	}
	if e := find(audit.TokenRevoked, "early"); !root(e) {
		t.Errorf("revoked: %+v", e)
	}
	if e := find(audit.TokenCreated, "behind-sudo"); !root(e) || e.Login == nil || *e.Login != 1 ||
		e.LoginUser != "daemon" {
		t.Errorf("made behind sudo: %+v", e)
	}
	find(audit.InvitationUsed, "phone")
	begin, end := find(audit.SessionStarted, "early"), find(audit.SessionEnded, "early")
	if begin.Address.String() != "10.1.1.3" || begin.TLS != "1.3" ||
		begin.Subject != "CN=laptop.example" || !strings.HasPrefix(begin.Remote, "198.51.100.2:") ||
		end.Session != begin.Session || end.End == nil || end.End.Seconds <= 0 ||
		!strings.Contains(end.Reason, "revoked") {
		t.Fatalf("the session: %+v, %+v", begin, end)
	}
	between(t, "received in the session", end.End.Received, payload)
	if e := find(audit.SessionEnded, "phone"); !strings.Contains(e.Reason, "administrator ended") {
		t.Errorf("the kicked session: %+v", e)
	}
	if e := find(audit.Refused, ""); e.Reason != "token" || e.Detail == "" ||
		!strings.HasPrefix(e.Remote, "198.51.100.4:") {
		t.Errorf("refused: %+v", e)
	}
	begun, ended := 0, 0
	for _, e := range all {
		switch e.Event {
		case audit.SessionStarted:
			begun++
		case audit.SessionEnded:
			ended++
		}
	}
	if begun != 3 || ended != 3 || all[len(all)-1].Event != audit.HubStopped ||
		all[0].Event != audit.TokenCreated {
		t.Errorf("%d sessions began, %d ended; the first and last entries are %+v, %+v", begun, ended,
			all[0], all[len(all)-1])
	}
	if text, _ := os.ReadFile(string(file)); strings.Contains(string(text), "tnl_") {
		t.Errorf("a token's text is in the audit log:\n%s", text)
	}
}

// bySudo runs a command as root for whom user 1 has logged in.
func bySudo(t *testing.T, h *lab.Host, argv ...string) {
	t.Helper()
	h.Run(append([]string{"sh", "-c", `echo 1 >/proc/self/loginuid && exec "$@"`, "sh"}, argv...)...)
}

// An attacker who tries thousands of tokens, with texts that are to forge lines, makes the file
// grow by some lines only; none of them is forged, and all refusals are counted.
func TestAuditFlood(t *testing.T) {
	t.Parallel()
	const tries = 3000
	server, clients := star(t, 2)
	bin, dir := plainBuild(t), t.TempDir()
	file := auditLog(filepath.Join(dir, "audit.log"))
	srv := bin.serve(t, server, "--plain", "--audit-log", string(file), "--trusted-proxy",
		"198.51.100.2")
	good := bin.connect(t, clients[1], directURL)
	headers := []string{"-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H",
		"Sec-WebSocket-Version: 13", "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "-H",
		"Sec-WebSocket-Protocol: tunnel.v1", "-H",
		`Authorization: Bearer tnl_x","event":"token_created","token":"evil` + "\x1b[2J\xff"}
	// each from an address of its own, as a botnet: a proxy that is trusted names them
	config := filepath.Join(dir, "curl")
	var lines strings.Builder
	for i := range tries {
		_, _ = fmt.Fprintf(&lines, "next\nurl = \"http://198.51.100.1:8443/ws\"\noutput = /dev/null\n"+
			"header = \"X-Forwarded-For: 203.0.%d.%d\"\n", i/250, i%250+1)
		for n := 0; n < len(headers); n += 2 {
			_, _ = fmt.Fprintf(&lines, "header = %s\n", strconv.Quote(headers[n+1]))
		}
	}
	if err := os.WriteFile(config, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	clients[0].Try("curl", "--silent", "--max-time", "60", "--parallel", "--parallel-max", "20",
		"--config", config)
	reaches(t, clients[1], "10.1.1.1")
	if n := len(stdoutLines(good, "down: ")); n > 0 {
		t.Error("a client lost its connection")
	}
	stop(t, srv)
	all := entries(t, string(file))
	var kept, omitted uint64
	for _, e := range all {
		switch e.Event {
		case audit.Refused:
			kept++
		case audit.RefusedOmitted:
			for _, n := range e.Omitted {
				omitted += n
			}
		case audit.TokenCreated:
			t.Errorf("forged: %+v", e)
		}
	}
	info, err := os.Stat(string(file))
	if err != nil || info.Size() > 64<<10 || kept < 10 || kept > 90 {
		t.Errorf("%d entries of refusals, the file is %v, %v", kept, info, err)
	}
	refused := regexp.MustCompile(`refused\.token=(\d+)`).FindStringSubmatch(srv.Stderr())
	banned := regexp.MustCompile(`refused\.banned=(\d+)`).FindStringSubmatch(srv.Stderr())
	if refused == nil || banned == nil {
		t.Fatal(srv.Stderr())
	}
	tokens, _ := strconv.ParseUint(refused[1], 10, 64)
	bans, _ := strconv.ParseUint(banned[1], 10, 64)
	if tokens < tries/2 || kept+omitted != tokens+bans {
		t.Errorf("%d entries and %d left out, of %d refused and %d banned", kept, omitted, tokens, bans)
	}
	t.Logf("%d refused logins: %d entries, %d left out, %d bytes", tokens+bans, kept, omitted,
		info.Size())
}

// A full disk of 64 KiB stops neither the hub nor a session, and what was lost is said.
func TestAuditDiskFull(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	bin, disk := raceBuild(t), t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	file := auditLog(filepath.Join(disk, "audit.log"))
	filler := fill(t, disk)
	srv := bin.serve(t, server, "--plain", "--audit-log", string(file))
	srv.WaitFor("the audit log cannot be written", soon)
	bin.connect(t, clients[0], directURL)
	sendFile(t, clients[0], server, "10.1.1.1", 1<<20)
	if all := entries(t, string(file)); len(all) > 0 {
		t.Fatalf("a full disk took %+v", all)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	bin.connect(t, clients[1], directURL)
	file.await(t, audit.SessionStarted, 1)
	lost := file.await(t, audit.EntriesLost, 1)
	if lost[0].Lost != 2 || !strings.Contains(lost[0].Reason, "no space left") { // hub, session
		t.Errorf("lost: %+v", lost[0])
	}
	srv.WaitFor("the audit log is written again", soon)
}

// The real logrotate, by the package's own file, takes nothing away from a hub that runs on; and
// the hub by itself keeps to --audit-log-size.
func TestAuditRotation(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 1)
	bin, dir, state := raceBuild(t), t.TempDir(), t.TempDir()
	file := auditLog(filepath.Join(dir, "audit.log"))
	text, err := os.ReadFile("../deploy/package/logrotate")
	if err != nil || !strings.Contains(string(text), "/var/log/tunnel/*.log") {
		t.Fatalf("%s, %v", text, err)
	}
	config := filepath.Join(t.TempDir(), "logrotate")
	if err := os.WriteFile(config, []byte(strings.Replace(string(text), "/var/log/tunnel/*.log",
		string(file), 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	srv := bin.start(t, server, "serve", "--plain", "--token", token, "--state", state, "--audit-log",
		string(file), "--audit-log-size", "64K")
	srv.WaitFor("listening on ", soon)
	bin.connect(t, clients[0], directURL)
	file.await(t, audit.SessionStarted, 1)
	server.Run("logrotate", "--force", "--state", config+".state", config)
	rotated, _ := filepath.Glob(string(file) + "-*")
	if len(rotated) != 1 {
		t.Fatalf("logrotate has made %q", rotated)
	}
	bin.token(t, server, state, "create", "after")
	after := file.await(t, audit.TokenCreated, 1)
	if after[0].Token != "after" || len(entries(t, string(file))) != 1 {
		t.Errorf("the new file has %+v", after)
	}
	if all := entries(t, rotated[0]); len(all) != 2 || all[0].Event != audit.HubStarted {
		t.Errorf("the old file has %+v", all)
	}
	const tokens = 100
	var routes []string
	for i := range 60 {
		routes = append(routes, fmt.Sprintf("192.168.%d.0/24", 2*i+1))
	}
	for i := range tokens { // with long lists
		plainBuild(t).token(t, server, state, "create", fmt.Sprint("t", i), "--push-route",
			strings.Join(routes, ","))
	}
	stop(t, srv)
	var files []string
	for n := 4; n > 0; n-- {
		files = append(files, fmt.Sprintf("%s.%d", file, n))
	}
	created := 0
	for _, name := range append(files, string(file)) {
		info, err := os.Stat(name)
		if err == nil && info.Size() > 64<<10 {
			t.Errorf("%s has %d bytes", name, info.Size())
		}
		for _, e := range entries(t, name) {
			if e.Event == audit.TokenCreated {
				created++
			}
		}
	}
	if _, err := os.Stat(files[3]); err != nil || created != tokens+1 {
		t.Errorf("%d of %d entries, %v", created, tokens+1, err)
	}
}
