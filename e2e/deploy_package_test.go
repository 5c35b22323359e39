package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// The .deb is installed on a Debian 12 whose first process is a real systemd. Its units run as a
// hub and as a client that does all that changes a machine. Each is ready when it should be, has
// its whole sandbox, is restarted by the watchdog, and leaves nothing when it is stopped. The
// package is upgraded while a transfer goes through the hub. The removal stops the units and keeps
// what is a person's; after the purge nothing is left.
func TestPackage(t *testing.T) {
	t.Parallel()
	older, newer := buildDeb(t, "v0.1.0"), buildDeb(t, "v0.2.0")
	if out, err := exec.CommandContext(t.Context(), "lintian", "--allow-root", "--fail-on",
		"error,warning", newer).CombinedOutput(); err != nil {
		t.Errorf("lintian: %v\n%s", err, out)
	}

	l := lab.New(t)
	sw, far, near := l.Switch("switch"), l.Host("far"), l.Host("near")
	l.Attach(far, "198.51.100.1/24", sw)
	l.Attach(near, "198.51.100.2/24", sw)
	near.Run("ip", "route", "add", "default", "via", "198.51.100.254") // which is nobody
	noJournals(t, far)
	m := bootMachine(t, near)
	m.copy(older, "/root/older.deb")
	m.copy(newer, "/root/newer.deb")
	files, before := m.files(), tables(t, near)

	m.run("dpkg", "--install", "/root/older.deb")
	m.checkInstalled()
	m.hastenWatchdog()
	m.testUnits(t)
	m.testServe(t, far, "/root/newer.deb")
	m.testConnect(t, far)

	m.testByHand()

	m.run("systemctl", "enable", "--now", "tunnel-serve.service")
	m.run("dpkg", "--remove", "tunnel")
	if state := m.show("tunnel-serve.service", "ActiveState"); state != "inactive" {
		t.Errorf("the hub is %s after the removal", state)
	}
	untouched(t, near, before)
	m.run("test", "-e", "/etc/tunnel/office.token", "-a", "-e", "/var/lib/tunnel/key.pem")
	m.run("dpkg", "--purge", "tunnel")
	m.run("rm", "-r", dropIn("tunnel-serve"), dropIn("tunnel-connect@"))
	if left := m.files(); left != files {
		t.Errorf("before the installation:\n%s\nafter the purge:\n%s", files, left)
	}
	untouched(t, near, before)
}

// testByHand has dpkg refuse, in one line, to purge the package under a hub that no unit of it has
// started; its keys stay.
func (m *machine) testByHand() {
	t := m.t
	t.Helper()
	m.run("systemd-run", "--unit=byhand", "tunnel", "serve", "--dev", "byhand0", "--network",
		"10.99.0.0/24", "--listen", "127.0.0.1:9999")
	m.run("sh", "-c", "for i in $(seq 300); do test -S /var/lib/tunnel/control.sock && exit 0; "+
		"sleep .1; done; exit 1")
	out := m.run("sh", "-c", "! dpkg --purge tunnel 2>&1")
	if strings.Count(out, "tunnel: a program that was started by hand runs, process ") != 1 {
		t.Errorf("a purge under a hub:\n%s", out)
	}
	m.run("test", "-e", "/var/lib/tunnel/key.pem", "-a", "-x", "/usr/bin/tunnel")
	m.run("systemctl", "stop", "byhand")
}

// buildDeb builds the .deb of a version.
func buildDeb(t *testing.T, version string) (file string) {
	t.Helper()
	dir := t.TempDir()
	runIn(t, "..", nil, "make", "packages", "ARCH="+runtime.GOARCH, "FORMAT=deb", "SBOM=",
		"DIST="+dir, "VERSION="+version)
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(debs) != 1 {
		t.Fatalf("%q, %v: want one .deb", debs, err)
	}
	return debs[0]
}

// copy copies a file into the machine.
func (m *machine) copy(from, to string) {
	m.t.Helper()
	if out, err := exec.CommandContext(m.t.Context(), "cp", from,
		filepath.Join(m.root, to)).CombinedOutput(); err != nil {
		m.t.Fatalf("cp %s: %v\n%s", from, err, out)
	}
}

// files lists the users and the files of the machine, but for those that systemd, dpkg and the
// tools for users write while they run. The image has no documents, and dpkg leaves the directories
// that others would have made for them.
func (m *machine) files() string {
	m.t.Helper()
	return m.run("sh", "-c", `cat /etc/passwd /etc/group
		find / -xdev \( -path /var/lib/systemd -o -path /var/tmp -o -path /var/log \
			-o -path /var/lib/dpkg \) -prune -o \( ! -type d -o -name '*tunnel*' \) \
			! -path '/etc/*-' ! -name .pwd.lock -print | sort
		find /run -path /run/systemd -prune -o -name '*tunnel*' -print`)
}

// checkInstalled checks what the package has put in place.
func (m *machine) checkInstalled() {
	t := m.t
	t.Helper()
	wantLines(t, "the package", m.run("dpkg", "--listfiles", "tunnel"),
		"/usr/bin/tunnel", "/usr/share/man/man8/tunnel.8.gz",
		"/usr/share/man/man8/tunnel-connect.8.gz", "/usr/share/man/man5/tunnel.yaml.5.gz",
		"/usr/share/man/man7/tunnel-protocol.7.gz",
		"/usr/share/bash-completion/completions/tunnel",
		"/usr/share/zsh/vendor-completions/_tunnel",
		"/usr/share/fish/vendor_completions.d/tunnel.fish", "/usr/share/doc/tunnel/copyright",
		"/usr/share/doc/tunnel/STATUS.md.gz", "/usr/share/doc/tunnel/DOCTOR.md.gz",
		"/usr/share/doc/tunnel/examples/tunnel.rules.yaml",
		"/usr/share/doc/tunnel/examples/grafana.json")
	for name, want := range map[string]string{
		"/var/lib/tunnel": "tunnel tunnel 700",
		// A token in them is for root alone.
		"/etc/tunnel":              "root root 700",
		"/etc/tunnel/serve.yaml":   "root root 600",
		"/etc/tunnel/example.yaml": "root root 600",
	} {
		if got := m.run("stat", "--format=%U %G %a", name); got != want+"\n" {
			t.Errorf("%s is %swant %s", name, got, want)
		}
	}
	conffiles := m.run("dpkg-query", "--showformat=${Conffiles}", "--show", "tunnel")
	for _, name := range []string{"serve.yaml", "example.yaml"} {
		if !strings.Contains(conffiles, " /etc/tunnel/"+name+" ") {
			t.Errorf("%s is no conffile:\n%s", name, conffiles)
		}
		// As it is, and with its settings.
		m.run("tunnel", "config", "check", "/etc/tunnel/"+name)
		m.run("sh", "-c", `sed 's/^#\([a-z]\)/\1/; s/sha256:…/sha256:`+strings.Repeat("A", 43)+
			`=/' "/etc/tunnel/$1" >"/tmp/$1" && tunnel config check "/tmp/$1"`, "sh", name)
	}
	for _, unit := range []string{"tunnel-serve.service", "tunnel-connect@x.service"} {
		if load, active := m.show(unit, "LoadState"), m.show(unit, "ActiveState"); load != "loaded" ||
			active != "inactive" {
			t.Errorf("%s is %s and %s after the installation", unit, load, active)
		}
	}
}

// dropIn returns the directory with the changes of a unit.
func dropIn(unit string) string { return "/etc/systemd/system/" + unit + ".service.d" }

// hastenWatchdog makes the watchdog of the units quicker than it is for people.
func (m *machine) hastenWatchdog() {
	m.t.Helper()
	for _, unit := range []string{"tunnel-serve", "tunnel-connect@"} {
		m.write(dropIn(unit)+"/soon.conf", "[Service]\nWatchdogSec=15\nTimeoutAbortSec=5\n", 0o644)
	}
	m.run("systemctl", "daemon-reload")
}

// upgrade installs another version of the package while a client of the hub sends data to it. The
// hub is restarted, and the client's connection goes on.
func (m *machine) upgrade(t *testing.T, unit, deb string, far *lab.Host, client *lab.Proc) {
	t.Helper()
	receiver := m.host.Start("sh", "-c", "nc -d -l 10.1.1.1 9000 | sha256sum")
	listening(t, m.host, 9000)
	cmd := far.Command("nc", "-N", "10.1.1.1", "9000")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	sender := far.StartCommand(cmd)
	upgraded, sent := make(chan struct{}), make(chan string, 1)
	go func() { sent <- stream(stdin, upgraded) }()

	main := m.show(unit, "MainPID")
	m.run("dpkg", "--install", deb)
	client.WaitForNth("up: ", 2, soon)
	close(upgraded)
	want := <-sent
	if code := sender.Wait(soon); code != 0 {
		t.Errorf("the transfer failed\n%s", sender.Stderr())
	}
	if code := receiver.Wait(soon); code != 0 || !strings.HasPrefix(receiver.Stdout(), want) {
		t.Errorf("received: exit code %d, checksum %q, want %s", code, receiver.Stdout(), want)
	}
	m.becomes(unit, "StatusText", "listening")
	if now := m.show(unit, "MainPID"); now == main {
		t.Errorf("the process is %s as before", now)
	}
	if version := m.run("tunnel", "version"); version != "v0.2.0\n" {
		t.Errorf("the version is %s", version)
	}
	if text := m.run("cat", "/etc/tunnel/serve.yaml"); !strings.HasPrefix(text, "public: ") {
		t.Errorf("the settings are not as before:\n%s", text)
	}
}

// stream writes 13 MB/s to w until stop is closed, and then one chunk more. It closes w, and
// returns the checksum of all, or an error.
func stream(w io.WriteCloser, stop <-chan struct{}) string {
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	chunk, sum := randomBytes(64<<10), sha256.New()
	for last := false; !last; {
		select {
		case <-stop:
			last = true
		case <-ticks.C:
		}
		if _, err := w.Write(chunk); err != nil {
			return err.Error()
		}
		_, _ = sum.Write(chunk) // which never fails
	}
	if err := w.Close(); err != nil {
		return err.Error()
	}
	return hex.EncodeToString(sum.Sum(nil))
}
