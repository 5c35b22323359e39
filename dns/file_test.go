package dns

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"tunnel/cmdrun"
	"tunnel/dns/conf"
	"tunnel/dns/dnstest"
	"tunnel/journal"
)

const ours = "0123456789ab-c1-tun0" // a journal that nobody holds

func file(servers string) File {
	return File{Dev: "tun0", Journal: ours, lists: config(true, servers, "corp.example").lists()}
}

// kernel is what facts are made with.
func kernel() journal.Machine { return journal.Machine{Run: cmdrun.NewExec(nil)} }

// placeTest is a place that a file of ours can have.
type placeTest struct {
	name    string
	set     func(*dnstest.Machine)
	servers string // what Servers says
}

func places() []placeTest {
	const names = "/run/names"
	place := func(name, servers string, set func(*dnstest.Machine)) placeTest {
		return placeTest{name, func(m *dnstest.Machine) { m.Plain(); set(m) }, servers}
	}
	text := func(text, servers string) placeTest {
		return place(text, servers, func(m *dnstest.Machine) { m.Write(resolvConf, text) })
	}
	return []placeTest{
		text("nameserver 192.168.9.1\n", "192.168.9.1"),
		text("nameserver 192.168.9.1", "192.168.9.1"),
		text("", ""),
		text("# \xff\x00\r\nnameserver 192.168.9.1\n\n\n", "192.168.9.1"),
		text(strings.Repeat("nameserver 192.168.9.1\n", 400), strings.Repeat("192.168.9.1 ", 400)),
		place("read-only", "192.168.9.1", func(m *dnstest.Machine) {
			m.Run("chmod", "0400", resolvConf)
		}),
		place("bound", "127.0.0.11", func(m *dnstest.Machine) {
			m.Bind("nameserver 127.0.0.11\n")
		}),
		place("link", "192.168.9.3", func(m *dnstest.Machine) {
			m.Write(names, "nameserver 192.168.9.3\n")
			m.Link("../run/names")
		}),
		place("link nowhere", "", func(m *dnstest.Machine) { m.Link("../run/none") }),
		place("nothing", "", func(m *dnstest.Machine) { m.Run("rm", resolvConf) }),
		place("nothing, and what a killed run left", "", func(m *dnstest.Machine) {
			m.Run("rm", resolvConf)
			m.Write(nextConf, "half")
		}),
	}
}

// TestFile has a file of ours take every place, and give it back as it was.
func TestFile(t *testing.T) {
	t.Parallel()
	m := dnstest.New(t)
	for _, test := range places() {
		t.Logf("%.40q", test.name) // no subtests: these would be on other threads
		test.set(m)
		if removed, err := Heal(t.Context(), kernel()); removed != "" || err != nil {
			t.Errorf("healed %q, %v", removed, err)
		}
		if _, err := journal.Undo(t.Context(), kernel(), file("10.1.1.1")); err != nil {
			t.Error(err) // of what a killed run has left
		}
		before := m.Snapshot()
		inode, _ := os.Stat(resolvConf)
		check(t, test, false)
		for _, server := range []string{"10.1.1.1", "10.1.1.2"} { // one in the other's place
			if err := file(server).Make(t.Context(), kernel()); err != nil {
				t.Fatal(err)
			}
			check(t, test, true)
			text := m.Read(resolvConf)
			if !slices.Equal(conf.Nameservers(text), []netip.Addr{netip.MustParseAddr(server)}) ||
				!strings.Contains(text, "\nsearch corp.example\n") {
				t.Errorf("names go by\n%s", text)
			}
		}
		undone(t, file("10.1.1.2"), true)
		if after := m.Snapshot(); after != before {
			t.Errorf("left\n%s\nwant\n%s", after, before)
		}
		if after, _ := os.Stat(resolvConf); inode != nil && !os.SameFile(inode, after) {
			t.Error("it is another file")
		}
		check(t, test, false)
	}
}

// check checks what is found, and the servers that the machine has without the tunnel.
func check(t *testing.T, test placeTest, made bool) {
	t.Helper()
	if there, err := file("10.1.1.1").Find(kernel()); there != made || err != nil {
		t.Errorf("there: %v, %v", there, err)
	}
	var want []netip.Addr
	for s := range strings.FieldsSeq(test.servers) {
		want = append(want, netip.MustParseAddr(s))
	}
	if servers, err := Servers(); err != nil || !slices.Equal(servers, want) {
		t.Errorf("servers %v, %v; want %v", servers, err, want)
	}
}

// TestTorn stops at each step of a change, as SIGKILL does, and undoes that.
func TestTorn(t *testing.T) {
	t.Parallel()
	m := dnstest.New(t)
	for _, test := range places() {
		for name, stop := range map[string]func(f File) error{
			"before it is renamed": func(f File) error {
				return writeNew(nextConf, overlay{owner: ours, lists: f.lists}.render())
			},
			"while that is written": func(File) error { return writeNew(nextConf, "") },
			"before the link is renamed": func(f File) error {
				return errors.Join(f.overlay(context.Background(), kernel()),
					os.Symlink("../run/names", nextConf))
			},
			"before it is cut": beforeCut,
		} {
			t.Logf("%.40q %s", test.name, name)
			test.set(m)
			_ = os.Remove(nextConf)
			before := m.Snapshot()
			if err := stop(file("10.1.1.1")); err != nil {
				t.Fatal(err)
			}
			if m.Snapshot() == before {
				t.Fatal("nothing was changed")
			}
			undone(t, file("10.1.1.1"), true)
			if after := m.Snapshot(); after != before {
				t.Errorf("left\n%s\nwant\n%s", after, before)
			}
		}
	}
}

// beforeCut makes the file ours, and begins to undo that.
func beforeCut(f File) error {
	if err := f.overlay(context.Background(), kernel()); err != nil {
		return err
	}
	p, err := openPlace(os.O_RDWR)
	if err != nil {
		return err
	}
	defer p.close()
	if o, _ := p.cover(lists{}); o.before.kind == savedFile {
		return p.write(tornRestore(o.before.text, len(p.text)))
	}
	return nil
}

// TestFileChanged has other programs replace the file while it is ours: it is theirs then, and when
// it becomes ours again, what they wrote comes back at the end.
func TestFileChanged(t *testing.T) {
	t.Parallel()
	m := dnstest.New(t)
	for name, change := range map[string]func(){
		"written in place": func() { m.Write(resolvConf, "nameserver 192.168.9.7\n") },
		"renamed": func() {
			m.Write("/etc/new", "nameserver 192.168.9.7\n")
			m.Run("mv", "/etc/new", resolvConf)
		},
		"a link":  func() { m.Link("../run/names") },
		"deleted": func() { m.Run("rm", resolvConf) },
	} {
		t.Log(name)
		m.Plain()
		f := file("10.1.1.1")
		if err := f.Make(t.Context(), kernel()); err != nil {
			t.Fatal(err)
		}
		change()
		theirs := m.Snapshot()
		for _, again := range []bool{false, true} {
			if again {
				if err := f.Make(t.Context(), kernel()); err != nil {
					t.Fatal(err)
				}
			}
			if intact, err := f.Intact(kernel()); intact != again || err != nil {
				t.Errorf("intact: %v, %v", intact, err)
			}
			undone(t, f, again)
			if after := m.Snapshot(); after != theirs {
				t.Errorf("left\n%s\nwant\n%s", after, theirs)
			}
		}
	}
}

// TestFileSavedByOthers has a program put back a file of ours that it had saved, which has an older
// Config: what comes back is what was there before us.
func TestFileSavedByOthers(t *testing.T) {
	t.Parallel()
	m := dnstest.New(t)
	before := m.Snapshot()
	if err := file("10.1.1.1").Make(t.Context(), kernel()); err != nil {
		t.Fatal(err)
	}
	saved := m.Read(resolvConf)
	m.Write(resolvConf, "nameserver 192.0.2.1\n")
	f := file("10.1.1.2")
	if err := f.Make(t.Context(), kernel()); err != nil {
		t.Fatal(err)
	}
	m.Write(resolvConf, saved)
	if intact, err := f.Intact(kernel()); intact || err != nil {
		t.Errorf("intact: %v, %v", intact, err)
	}
	if removed, err := journal.Undo(t.Context(), kernel(), f); !removed || err != nil {
		t.Errorf("removed %v, %v", removed, err)
	}
	if after := m.Snapshot(); after != before {
		t.Errorf("left\n%s", after)
	}
}

// TestTwoRuns has two runs want the file: the second is refused while the first lives, and takes
// its place, with what was there before both, when it does not. Not parallel: a program that
// another test starts would have a copy of the lock for a moment.
func TestTwoRuns(t *testing.T) {
	m := dnstest.New(t)
	before := m.Snapshot()
	dir, err := journal.Dir()
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(dir, "tun7", journal.KindsOf(File{}))
	if err != nil {
		t.Fatal(err)
	}
	first := File{Dev: "tun7", Journal: j.Name(), lists: config(true, "10.7.0.1").lists()}
	if err := errors.Join(first.Check(journal.RulesFor("tun7")), j.Note(first),
		first.Make(t.Context(), kernel())); err != nil {
		t.Fatal(err)
	}
	second, text := file("10.1.1.1"), m.Read(resolvConf)
	if err := second.Make(t.Context(), kernel()); !errors.Is(err, ErrBusy) {
		t.Errorf("with the first: %v", err)
	}
	if removed, err := Heal(t.Context(), kernel()); removed != "" || err != nil ||
		m.Read(resolvConf) != text {
		t.Errorf("healed %q, %v", removed, err)
	}
	if err := j.Close(); err != nil { // which keeps the fact, as SIGKILL does
		t.Fatal(err)
	}
	if err := second.Make(t.Context(), kernel()); err != nil {
		t.Errorf("without the first: %v", err)
	}
	if removed, err := journal.Undo(t.Context(), kernel(), second); !removed || err != nil ||
		m.Snapshot() != before {
		t.Errorf("removed %v, %v; left\n%s", removed, err, m.Snapshot())
	}
}

// TestHeal brings back what a run has covered whose journal is gone, as after a power cut.
func TestHeal(t *testing.T) {
	t.Parallel()
	m := dnstest.New(t)
	before := m.Snapshot()
	if removed, err := Heal(t.Context(), kernel()); removed != "" || err != nil {
		t.Errorf("healed %q, %v", removed, err)
	}
	if err := file("10.1.1.1").Make(t.Context(), kernel()); err != nil {
		t.Fatal(err)
	}
	removed, err := Heal(t.Context(), kernel())
	if removed != "DNS servers 10.1.1.1 in /etc/resolv.conf" || err != nil {
		t.Errorf("healed %q, %v", removed, err)
	}
	if after := m.Snapshot(); after != before {
		t.Errorf("left\n%s", after)
	}
}

// TestFileFull has no room for the file: what was there stays.
func TestFileFull(t *testing.T) {
	t.Parallel()
	m := dnstest.New(t)
	m.Run("mkdir", "/run/full")
	m.Run("mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", "/run/full")
	text := strings.Repeat("nameserver 192.168.9.1\n", 170)
	m.Write("/run/full/resolv.conf", text)
	m.Run("mount", "--bind", "/run/full/resolv.conf", resolvConf)
	m.Run("sh", "-c", "cat /dev/zero >/run/full/rest; true")
	if err := file("10.1.1.1").Make(t.Context(), kernel()); err == nil {
		t.Error("there was room")
	}
	if got := m.Read(resolvConf); got != text {
		t.Errorf("left %d bytes\n%.300s", len(got), got)
	}
}
