package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"tunnel/e2e/lab"
)

// testUnits checks the units as systemd reads them.
func (m *machine) testUnits(t *testing.T) {
	for _, unit := range []string{"tunnel-serve.service", "tunnel-connect@.service"} {
		unit = "/usr/lib/systemd/system/" + unit
		// The scale is 0 to 100; 25 is what it shows as 2.5.
		if out, stderr, code := m.try("systemd-analyze", "security", "--offline=true",
			"--threshold=25", unit); code != 0 {
			t.Errorf("%s is too exposed:\n%s%s", unit, out, stderr)
		}
		if out, stderr, code := m.try("systemd-analyze", "verify", "--man=no", unit); code != 0 ||
			out+stderr != "" {
			t.Errorf("systemd-analyze verify %s: %d\n%s%s", unit, code, out, stderr)
		}
	}
}

// testServe runs the machine as a hub, with a network behind it, and another host as its client.
// Meanwhile the package is upgraded to another one.
func (m *machine) testServe(t *testing.T, far *lab.Host, upgrade string) {
	const unit = "tunnel-serve.service"
	before := tables(t, m.host)
	m.write("/etc/tunnel/serve.yaml", "public: 198.51.100.2\npush-route: 192.168.7.0/24\n"+
		"audit-log: journald\n", 0o644)
	m.host.Run("ip", "link", "add", "inner", "type", "veth", "peer", "name", "outer")
	m.host.Run("ip", "addr", "add", "192.168.7.1/24", "dev", "inner")
	m.host.Run("ip", "link", "set", "inner", "up")
	m.host.Run("ip", "link", "set", "outer", "up")
	inner := tables(t, m.host)
	m.run("systemctl", "start", unit)
	if active, status := m.show(unit, "ActiveState"), m.show(unit, "StatusText"); active != "active" ||
		status != "listening" {
		t.Errorf("%s, %q; want active, listening", active, status)
	}
	var log string
	var join []string
	eventually(t, "the hub has printed a line to join with", func() bool {
		log = m.journal("--unit=" + unit)
		join = regexp.MustCompile(`tunnel connect (wss://\S+) --pin (\S+) --token (\S+)`).
			FindStringSubmatch(log)
		return join != nil
	})
	for _, less := range []string{"no sandbox", "no landlock", "no seccomp", "level=ERROR"} {
		if strings.Contains(log, less) {
			t.Errorf("the log has %q\n%s", less, log)
		}
	}
	client := plainBuild(t).start(t, far, "connect", join[1], "--pin", join[2], "--token", join[3],
		"--state", t.TempDir())
	client.WaitFor("up: ", soon)
	reaches(t, far, "10.1.1.1")
	reaches(t, far, "192.168.7.1")
	m.reload(t, unit, "/etc/tunnel/serve.yaml", "public: 198.51.100.2\n"+
		"push-route: 192.168.7.0/24\naudit-log: journald\n",
		"max-sessions: 5\n", "mtu: 1300\n")
	reaches(t, far, "192.168.7.1")
	m.upgrade(t, unit, upgrade, far, client)
	reaches(t, far, "10.1.1.1")
	stop(t, client)
	m.auditInJournal(t, unit)
	m.write("/etc/tunnel/serve.yaml", "public: 198.51.100.2\npush-route: 192.168.7.0/24\n"+
		"audit-log: /var/log/tunnel/audit.log\n", 0o644)
	m.run("systemctl", "stop", unit)
	m.undone(t, inner)

	// systemd listens, and starts the hub with the first connection.
	m.run("systemctl", "start", "tunnel-serve.socket")
	if active := m.show(unit, "ActiveState"); active != "inactive" {
		t.Errorf("%s before the first connection", active)
	}
	client = plainBuild(t).start(t, far, "connect", join[1], "--pin", join[2], "--token", join[3],
		"--state", t.TempDir())
	client.WaitFor("up: ", soon)
	reaches(t, far, "10.1.1.1")
	if log := m.journal("--unit=" + unit); !strings.Contains(log, "the service manager listens") {
		t.Errorf("the hub does not say who listens:\n%s", log)
	}
	stop(t, client)
	m.run("systemctl", "stop", "tunnel-serve.socket", unit)
	if events := m.run("cat", "/var/log/tunnel/audit.log"); !strings.Contains(events,
		`"event":"session_ended"`) || !strings.Contains(events, `"event":"hub_stopped"`) {
		t.Errorf("the audit log has\n%s", events)
	}
	m.undone(t, inner)
	m.host.Run("ip", "link", "del", "inner")
	untouched(t, m.host, before)
}

// auditInJournal checks what the journal has of a session that has ended, by its fields.
func (m *machine) auditInJournal(t *testing.T, unit string) {
	t.Helper()
	query := func(event string) map[string]any {
		var last map[string]any
		eventually(t, "the journal has "+event, func() bool {
			out, _, _ := m.try("journalctl", "--no-pager", "--output=json", "_SYSTEMD_UNIT="+unit,
				"SYSLOG_IDENTIFIER=tunnel-audit", "TUNNEL_EVENT="+event)
			for line := range strings.Lines(out) {
				last = nil
				if err := json.Unmarshal([]byte(line), &last); err != nil {
					t.Fatalf("%v\n%s", err, line)
				}
			}
			return last != nil
		})
		return last
	}
	query("hub_started")
	query("token_created")
	begin, end := query("session_started"), query("session_ended")
	if begin["TUNNEL_TOKEN"] != "first" || begin["TUNNEL_ADDRESS"] != "10.1.1.3" ||
		begin["TUNNEL_TLS"] != "1.3" || end["TUNNEL_SESSION"] != begin["TUNNEL_SESSION"] ||
		end["TUNNEL_END_SENT_BYTES"] == nil || end["PRIORITY"] != "6" {
		t.Errorf("the journal has\n%v\n%v", begin, end)
	}
}

// testConnect runs the machine as a client, with all that changes a machine, of a hub that is not
// there at first.
func (m *machine) testConnect(t *testing.T, far *lab.Host) {
	const unit = "tunnel-connect@office.service"
	before := tables(t, m.host)
	m.write("/etc/tunnel/office.yaml", "url: wss://198.51.100.1:8443\npin: PIN\n", 0o644)
	// Without its token it does not start, and is not tried again and again.
	m.try("systemctl", "start", unit)
	m.becomes(unit, "ActiveState", "failed")

	state := t.TempDir()
	serve := func() *lab.Proc {
		hub := plainBuild(t).start(t, far, "serve", "--public", "198.51.100.1", "--token", token,
			"--dns", "10.1.1.1", "--state", state)
		hub.WaitFor("listening on ", soon)
		return hub
	}
	hub := serve()
	line := hub.WaitFor(" --pin ", soon)
	pin := regexp.MustCompile(`--pin (\S+)`).FindStringSubmatch(line)
	stop(t, hub)
	m.write("/etc/tunnel/office.token", token+"\n", 0o600)
	m.write("/etc/tunnel/office.yaml", "url: wss://198.51.100.1:8443\npin: "+pin[1]+
		"\nfull-tunnel: true\nkill-switch: true\naccept-dns: true\nadvertise: 192.168.9.0/24\n"+
		"on-up: echo up >/run/tunnel/hook\non-down: rm /run/tunnel/hook\n", 0o644)
	m.run("systemctl", "reset-failed", unit)
	m.run("systemctl", "start", "--no-block", unit)
	eventually(t, "the client tries", func() bool {
		return strings.Contains(m.journal("--unit="+unit), "not connected")
	})
	if active := m.show(unit, "ActiveState"); active != "activating" {
		t.Errorf("%s while there is no hub", active)
	}
	hub = serve()
	m.becomes(unit, "ActiveState", "active")
	if status := m.show(unit, "StatusText"); status != "connected" {
		t.Errorf("the status is %q", status)
	}
	reaches(t, m.host, "10.1.1.1")
	eventually(t, "the hook has run", func() bool {
		_, _, code := m.try("test", "-e", "/run/tunnel/hook")
		return code == 0
	})
	stop(t, hub)
	m.becomes(unit, "StatusText", "not connected, trying again")
	hub = serve()
	m.becomes(unit, "StatusText", "connected")
	m.watchdog(t, unit, "connected")
	reaches(t, m.host, "10.1.1.1")
	kept, err := os.ReadFile(filepath.Join(m.root, "/etc/tunnel/office.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	m.reload(t, unit, "/etc/tunnel/office.yaml", string(kept), "log-level: debug\n", "mtu: 1300\n")
	reaches(t, m.host, "10.1.1.1")
	m.run("systemctl", "stop", unit)
	if result := m.show(unit, "Result"); result != "success" {
		t.Errorf("the stop is a %s\n%s", result, m.journal("--unit="+unit))
	}
	stop(t, hub)
	m.run("rm", "-f", "/run/tunnel/hook") // on a busy machine the second for --on-down was too short
	m.undone(t, before)
}

// reload has systemd reload a unit whose file has a text, with a change that holds at once, with
// one that needs a restart, and with an error. A signal does it, too; the unit is never down.
func (m *machine) reload(t *testing.T, unit, file, kept, change, restart string) {
	t.Helper()
	main := m.show(unit, "MainPID")
	logged := func(what string, n int) {
		t.Helper()
		eventually(t, fmt.Sprintf("%s has logged %q %d times", unit, what, n), func() bool {
			return strings.Count(m.journal("--unit="+unit), what) == n
		})
	}
	m.write(file, kept+change, 0o600)
	m.run("systemctl", "reload", unit)
	logged("configuration read again", 1)
	for n, bad := range []string{restart, "nonsense: 1\n"} {
		m.write(file, kept+change+bad, 0o600)
		if _, stderr, code := m.try("systemctl", "reload", unit); code == 0 ||
			m.show(unit, "ActiveState") != "active" {
			t.Errorf("systemctl reload with %q: exit code %d\n%s", bad, code, stderr)
		}
		logged("the configuration is as it was", n)
	}
	logged("needs a restart: mtu ("+file, 1)
	logged("nonsense: unknown key", 2) // the run, and the command
	m.write(file, kept, 0o600)
	m.run("systemctl", "kill", "--signal=SIGHUP", unit)
	logged("configuration read again", 3)
	m.becomes(unit, "SubState", "running")
	if now := m.show(unit, "MainPID"); now != main {
		t.Errorf("process %s was replaced by %s", main, now)
	}
}

// undone fails the test unless the machine's network is as before, without a journal or a firewall
// of the program.
func (m *machine) undone(t *testing.T, before string) {
	t.Helper()
	untouched(t, m.host, before)
	if left := m.run("ls", "/run/tunnel"); left != "" {
		t.Errorf("/run/tunnel has %s", left)
	}
	if rules := m.host.Run("nft", "list", "ruleset"); strings.Contains(rules, "tunnel") {
		t.Errorf("nft has\n%s", rules)
	}
}

// watchdog stops the worker of a unit, as one that is stuck, and waits until systemd has killed and
// restarted the service.
func (m *machine) watchdog(t *testing.T, unit, status string) {
	t.Helper()
	main, restarts := m.show(unit, "MainPID"), m.show(unit, "NRestarts")
	if err := syscall.Kill(m.worker(unit), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "systemd sees that "+unit+" is stuck", func() bool {
		return strings.Contains(m.journal("--unit="+unit), "Watchdog timeout")
	})
	eventually(t, "systemd has restarted "+unit, func() bool {
		return m.show(unit, "NRestarts") != restarts && m.show(unit, "StatusText") == status &&
			m.show(unit, "ActiveState") == "active"
	})
	if now := m.show(unit, "MainPID"); now == main {
		t.Errorf("the process is %s as before", now)
	}
}
