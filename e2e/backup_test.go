package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/e2e/lab"
)

const passphrase = "correct horse battery staple"

// A hub is backed up while clients come and go and tokens are made and revoked. Another machine
// takes its place with the last backup: the clients that are there find the same key, and get the
// same addresses for the same tokens, so that a connection inside goes on.
func TestBackup(t *testing.T) {
	server, hosts := star(t, 4)
	caller, other := hosts[2], hosts[3]
	bin, state, dir := plainBuild(t), t.TempDir(), t.TempDir()
	secret := filepath.Join(dir, "passphrase")
	if err := os.WriteFile(secret, []byte(passphrase+"\nnot this\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	do := func(h *lab.Host, code int, says string, args ...string) {
		t.Helper()
		out, stderr, got := h.TryCommand(bin.command(h, append(args, "--passphrase-file", secret)...))
		if got != code || !strings.Contains(out+stderr, says) {
			t.Fatalf("tunnel %v: exit code %d, want %d and %q\n%s%s", args, got, code, says, out, stderr)
		}
	}
	serve := func(h *lab.Host, state string) *lab.Proc {
		srv := bin.start(t, h, "serve", "--public", "198.51.100.1", "--client-to-client", "--state",
			state)
		srv.WaitFor("listening on ", soon)
		return srv
	}
	srv := serve(server, state)
	pin := regexp.MustCompile(`--pin (\S+)`).FindStringSubmatch(srv.WaitFor(" --pin ", soon))[1]
	connect := func(h *lab.Host, name string) *lab.Proc {
		return bin.start(t, h, "connect", "--token", bin.token(t, server, state, "create", name),
			"--pin", pin, "--state", t.TempDir(), "wss://198.51.100.1:8443")
	}
	var clients []*lab.Proc
	var ups []string
	for i, name := range []string{"one", "two"} {
		clients = append(clients, connect(hosts[i], name))
		ups = append(ups, clients[i].WaitFor("up: ", soon))
	}
	address := regexp.MustCompile(`address (\S+)`).FindStringSubmatch(ups[1])[1]
	x := startExchange(t, hosts[0], hosts[1], address)

	var file string
	for i := range 3 {
		passing := connect(caller, fmt.Sprint("visitor", i)) // which is just coming
		file = filepath.Join(dir, fmt.Sprintf("hub%d.age", i))
		do(server, 0, "saved in "+file, "backup", file, "--state", state)
		passing.WaitFor("up: ", soon)
		stop(t, passing)
		bin.token(t, server, state, "revoke", fmt.Sprint("visitor", i))
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("the backup has %v, %v", info.Mode(), err)
		}
		restored := filepath.Join(dir, fmt.Sprint("restored", i))
		do(server, 0, "restored to ", "restore", file, "--state", restored)
		for _, name := range []string{"one", "two", fmt.Sprint("visitor", i)} {
			if list := bin.token(t, server, restored, "list"); !strings.Contains(list, name) {
				t.Errorf("backup %d has no token %s:\n%s", i, name, list)
			}
		}
	}
	x.flows(soon)
	sealed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, plain := range []string{"PRIVATE KEY", "visitor2", passphrase} {
		if bytes.Contains(sealed, []byte(plain)) {
			t.Errorf("the backup shows %q", plain)
		}
	}

	// What may not be changes nothing.
	do(server, 2, file+" exists", "backup", file, "--state", state)
	do(server, 13, "is not a server's state", "backup", filepath.Join(dir, "x"), "--state", dir)
	do(server, 13, "a server runs on "+state, "restore", file, "--state", state)
	do(server, 13, "a server runs on "+state, "restore", file, "--state", state, "--force")
	do(server, 13, "give --force", "restore", file, "--state", filepath.Join(dir, "restored0"))
	bad := filepath.Join(dir, "bad.age")
	untouched := filepath.Join(dir, "restored0")
	before := contents(t, untouched)
	for what, data := range map[string][]byte{"the end is missing": sealed[:len(sealed)-1],
		"nothing": nil, "a bit": flipped(sealed, len(sealed)-100)} {
		t.Log(what)
		if err := os.WriteFile(bad, data, 0o600); err != nil {
			t.Fatal(err)
		}
		do(server, 2, "nothing was changed", "restore", bad, "--state", untouched, "--force")
	}
	if err := os.WriteFile(secret, []byte("another passphrase\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	do(server, 2, "the passphrase is wrong", "restore", file, "--state", untouched, "--force")
	if now := contents(t, untouched); now != before {
		t.Errorf("what cannot be restored has changed the state from\n%s\nto\n%s", before, now)
	}

	// Another machine has the hub's place.
	stop(t, srv)
	if err := os.WriteFile(secret, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	last := filepath.Join(dir, "last.age")
	do(server, 2, "shorter than 12 bytes", "backup", last, "--state", state)
	if err := os.WriteFile(secret, []byte(passphrase), 0o600); err != nil {
		t.Fatal(err)
	}
	do(server, 0, "saved in ", "backup", last, "--state", state)
	server.Run("ip", "addr", "del", "198.51.100.1/24", "dev", "eth0")
	other.Run("ip", "addr", "add", "198.51.100.1/24", "dev", "eth0")
	for _, h := range hosts[:2] { // as a gratuitous ARP of the new machine does
		h.Run("ip", "neigh", "flush", "dev", "eth0")
	}
	elsewhere := filepath.Join(t.TempDir(), "state")
	do(other, 0, "restored to ", "restore", last, "--state", elsewhere)
	srv = serve(other, elsewhere)
	for _, cl := range clients {
		cl.WaitForNth("msg=connected", 2, 2*soon)
	}
	x.flows(2 * soon)
	x.finish()
	for i, cl := range clients {
		lines := stdoutLines(cl, "up: ")
		if slices.ContainsFunc(lines, func(line string) bool { return line != ups[i] }) {
			t.Errorf("another address: %q", lines)
		}
		stop(t, cl)
	}
	bin.token(t, other, elsewhere, "create", "later")
	stop(t, srv)
	do(other, 0, "restored to ", "restore", last, "--state", elsewhere, "--force")
	srv = serve(other, elsewhere)
	if list := bin.token(t, other, elsewhere, "list"); strings.Contains(list, "later") ||
		!strings.Contains(list, "one") {
		t.Errorf("after a restore over a newer state there are\n%s", list)
	}
	stop(t, srv)
	if key := func(dir string) string {
		data, err := os.ReadFile(filepath.Join(dir, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}; key(state) != key(elsewhere) {
		t.Error("the restored key is another")
	}
}

// The passphrase is typed twice on the terminal, which does not show it, also if this program's
// output goes elsewhere. Ctrl-C leaves the terminal as it was, and no file.
func TestBackupPassphrase(t *testing.T) {
	t.Parallel()
	server, _ := direct(t)
	bin, state, dir := plainBuild(t), t.TempDir(), t.TempDir()
	bin.token(t, server, state, "create", "one")
	file := filepath.Join(dir, "hub.age")
	for _, test := range []struct {
		what, first, second, says string
		code                      int
	}{
		{"Ctrl-C", "\x03", "", "interrupted", 2},
		{"another", passphrase + "\n", passphrase + "!\n", "the two passphrases differ", 2},
		{"short", "short\n", "short\n", "shorter than 12 bytes", 2},
		{"right", passphrase + "\n", passphrase + "\n", "saved in " + file, 0},
	} {
		ptmx, terminal := openTerminal(t)
		before, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		cmd := bin.command(server, "backup", file, "--state", state)
		cmd.Stdin = terminal
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		proc := server.StartCommand(cmd)
		shown := typed(t, ptmx, "Passphrase: ", test.first)
		if test.second != "" {
			shown += typed(t, ptmx, "The same again: ", test.second)
		}
		if code := proc.Wait(2 * soon); code != test.code ||
			!strings.Contains(proc.Stdout()+proc.Stderr(), test.says) {
			t.Errorf("%s: exit code %d\n%s%s", test.what, code, proc.Stdout(), proc.Stderr())
		}
		after, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
		if err != nil || *after != *before {
			t.Errorf("%s: the terminal was %v, and is %v, %v", test.what, before, after, err)
		}
		if strings.Contains(shown, passphrase) {
			t.Errorf("%s: the terminal shows %q", test.what, shown)
		}
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 != (test.code == 0) {
			t.Errorf("%s: %v, %v", test.what, left, err)
		}
	}
	if out, stderr, code := server.TryCommand(bin.command(server, "backup", file+"2", "--state",
		state)); code != 2 || !strings.Contains(stderr, "give --passphrase-file FILE") {
		t.Errorf("without a terminal: exit code %d\n%s%s", code, out, stderr)
	}
}

// typed waits until a terminal shows a question, types an answer, and returns what was shown.
func typed(t *testing.T, ptmx *os.File, question, answer string) (shown string) {
	t.Helper()
	buffer := make([]byte, 4096)
	for !strings.Contains(shown, question) {
		n, err := ptmx.Read(buffer)
		if err != nil {
			t.Fatalf("%q, %v; want %q", shown, err, question)
		}
		shown += string(buffer[:n])
	}
	if _, err := ptmx.WriteString(answer); err != nil {
		t.Fatal(err)
	}
	return shown
}

// flipped returns data with another bit at an index.
func flipped(data []byte, at int) []byte {
	data = slices.Clone(data)
	data[at] ^= 1
	return data
}

// contents returns names and contents of the files of a directory.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		fmt.Fprintf(&text, "%s %s\n", name, sha(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}
