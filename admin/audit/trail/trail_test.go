package trail

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"tunnel/admin/audit"
)

func entry(event audit.Event, token string) audit.Entry {
	e := audit.Entry{Time: time.Now(), Event: event, Token: token}
	e.Tidy()
	return e
}

// opened returns a Trail to a file, and its log.
func opened(t *testing.T, name string, size int64) (*Trail, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	trail, err := Open(name, size, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = trail.Close() })
	return trail, &log
}

// lines returns the entries of a file, each of which must be a whole line.
func lines(t *testing.T, name string) (all []audit.Entry) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e audit.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil || !strings.HasSuffix(line, "\n") {
			t.Fatalf("%s: %q: %v", name, line, err)
		}
		all = append(all, e)
	}
	return all
}

func write(t *testing.T, trail *Trail, entries ...audit.Entry) {
	t.Helper()
	if err := trail.Write(entries); err != nil {
		t.Fatal(err)
	}
}

// A file that others have renamed, removed or cut off is made again, and no line is lost.
func TestReopen(t *testing.T) {
	name := filepath.Join(t.TempDir(), "audit.log")
	trail, _ := opened(t, name, 0)
	write(t, trail, entry(audit.TokenCreated, "a"))
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, trail, entry(audit.TokenCreated, "b"))
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	write(t, trail, entry(audit.TokenCreated, "c"))
	if err := os.Truncate(name, 0); err != nil { // logrotate's copytruncate
		t.Fatal(err)
	}
	write(t, trail, entry(audit.TokenCreated, "d"))
	// as logrotate's create: the mode is the administrator's
	if err := errors.Join(os.Rename(name, name+".2"), os.WriteFile(name, nil, 0o640)); err != nil {
		t.Fatal(err)
	}
	write(t, trail, entry(audit.TokenCreated, "e"))
	for file, want := range map[string]string{name + ".1": "a", name + ".2": "d", name: "e"} {
		if got := lines(t, file); len(got) != 1 || got[0].Token != want {
			t.Errorf("%s has %+v", file, got)
		}
	}
}

// A full disk loses entries, which are counted; it leaves no half line, and is tried again.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	name := filepath.Join(disk, "audit.log")
	trail, log := opened(t, name, 0)
	const entries = 2000
	for i := range entries {
		write(t, trail, entry(audit.TokenCreated, fmt.Sprint("t", i)))
	}
	first := lines(t, name)
	if len(first) < 100 || len(first) > 1000 {
		t.Fatalf("%d entries fit", len(first))
	}
	if n := strings.Count(log.String(), "cannot be written"); n != 1 ||
		!strings.Contains(log.String(), "no space left on device") {
		t.Errorf("said %d times:\n%s", n, log)
	}
	if err := os.Rename(name, filepath.Join(t.TempDir(), "old")); err == nil {
		t.Fatal("moved to another disk")
	}
	if err := os.Truncate(name, 0); err != nil {
		t.Fatal(err)
	}
	write(t, trail, entry(audit.TokenCreated, "after"))
	after := lines(t, name)
	if len(after) != 2 || after[0].Event != audit.EntriesLost ||
		after[0].Lost != uint64(entries-len(first)) || after[1].Token != "after" {
		t.Errorf("afterwards: %+v, of %d that were written", after, len(first))
	}
	if !strings.Contains(log.String(), "written again") {
		t.Error(log)
	}
}

// Half a line of a power cut stays one line.
func TestHalfLine(t *testing.T) {
	name := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(name, []byte(`{"time":"20`), 0o600); err != nil {
		t.Fatal(err)
	}
	trail, _ := opened(t, name, 0)
	write(t, trail, entry(audit.TokenCreated, "a"))
	text, _ := os.ReadFile(name)
	if all := strings.Split(string(text), "\n"); len(all) != 3 || !strings.Contains(all[1], `"a"`) {
		t.Errorf("%q", text)
	}
}

// A file of others, or one that they may write, is not written to, whatever its name leads to.
func TestForeignFile(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	for name, make := range map[string]func(string) error{
		"link":        func(n string) error { return os.Symlink(victim, n) },
		"second name": func(n string) error { return os.Link(victim, n) },
		"others write": func(n string) error {
			return errors.Join(os.WriteFile(n, nil, 0o600), os.Chmod(n, 0o606))
		},
		"other owner": func(n string) error {
			return errors.Join(os.WriteFile(n, nil, 0o600), os.Chown(n, 1, 1))
		},
		"FIFO":         func(n string) error { return unix.Mkfifo(n, 0o600) },
		"directory":    func(n string) error { return os.Mkdir(n, 0o700) },
		"no directory": func(string) error { return nil },
	} {
		if err := os.WriteFile(victim, []byte("kept\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if name == "no directory" {
			path = filepath.Join(dir, "none", "audit.log")
		}
		if trail, err := Open(path, 0, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%s: opened", name)
			_ = trail.Close()
		}
		if text, _ := os.ReadFile(victim); string(text) != "kept\n" {
			t.Errorf("%s: %q", name, text)
		}
		_ = os.RemoveAll(path)
	}
}

// A worker that was broken into cannot write what is no entry, nor a user's name.
func TestNoEntry(t *testing.T) {
	name := filepath.Join(t.TempDir(), "audit.log")
	trail, _ := opened(t, name, 0)
	for what, e := range map[string]audit.Entry{
		"event": entry("made_up", ""), "text": {Time: time.Now(), Event: audit.Kicked, Reason: "\n"},
		"time": {Event: audit.Kicked},
	} {
		if err := trail.Write([]audit.Entry{entry(audit.Kicked, "good"), e}); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	root, nobody := uint32(0), uint32(4_000_000_000)
	e := entry(audit.Kicked, "a")
	e.UID, e.User = &root, "somebody"
	other := e
	other.UID = &nobody
	nameless := entry(audit.Kicked, "a")
	nameless.User = "somebody"
	write(t, trail, e, other, nameless)
	if got := lines(t, name); len(got) != 3 || got[2].User != "" || got[0].User != "root" ||
		got[1].User != "" || *got[1].UID != nobody {
		t.Errorf("%+v", got)
	}
}

// The journal gets a field for each, also for what a text with a newline would make of them, and is
// connected again when it was restarted.
func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	listen := func() *net.UnixConn {
		conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	read := func(conn *net.UnixConn) string {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		buffer := make([]byte, 64<<10)
		n, err := conn.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		return string(buffer[:n])
	}
	conn := listen()
	to, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	trail := &Trail{log: slog.New(slog.DiscardHandler), to: to, users: map[uint32]string{},
		bytes: rate.NewLimiter(byteRate, maxBytes)}
	t.Cleanup(func() { _ = trail.Close() })
	e := entry(audit.SessionEnded, "office")
	e.Session, e.Reason, e.End = 7, `a "quote"`, audit.EndOf(time.Now(), 5, 6, 0)
	write(t, trail, e)
	got := strings.Split(strings.TrimSuffix(read(conn), "\n"), "\n")
	for _, want := range []string{"TUNNEL_EVENT=session_ended", "TUNNEL_TOKEN=office",
		"TUNNEL_SESSION=7", `TUNNEL_REASON=a "quote"`, "TUNNEL_END_SENT_BYTES=5", "PRIORITY=6",
		"SYSLOG_IDENTIFIER=tunnel-audit"} {
		if !slices.Contains(got, want) {
			t.Errorf("lacks %s:\n%q", want, got)
		}
	}
	_ = conn.Close()
	_ = os.Remove(path)
	write(t, trail, entry(audit.Kicked, "lost"))
	conn = listen()
	defer func() { _ = conn.Close() }()
	write(t, trail, entry(audit.Kicked, "again"))
	if lost := read(conn); !strings.Contains(lost, "TUNNEL_LOST=1\n") {
		t.Errorf("%q", lost)
	}
	if again := read(conn); !strings.Contains(again, "TUNNEL_TOKEN=again\n") {
		t.Errorf("%q", again)
	}
	if text := fields(line{json: []byte(`{"x":"a\nMESSAGE=forged"}`)}); !bytes.Contains(text,
		append([]byte("TUNNEL_X\n"), 16, 0, 0, 0, 0, 0, 0, 0)) {
		t.Errorf("%q", text)
	}
}
