package dns

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"tunnel/dns/dnstest"
	"tunnel/journal"
)

const before = "# mine\nnameserver 192.0.2.53\nsearch home.example\n"

// editTest is what another program does to an overlay of `before`, and what is left at the end.
type editTest struct {
	name string
	edit func(string) string
	want string
}

func edits() []editTest {
	replace := func(name, old, by, want string) editTest {
		return editTest{name, func(s string) string {
			if !strings.Contains(s, old) {
				panic(name)
			}
			return strings.ReplaceAll(s, old, by)
		}, want}
	}
	const more, text = "options timeout:1\n", "# Names are resolved through a tunnel."
	return []editTest{
		{"a line first", func(s string) string { return more + s }, more + before},
		{"a line last", func(s string) string { return s + more }, before + more},
		{"a line last without its end", func(s string) string { return s + "options a" },
			before + "options a"},
		replace("a server before ours", "nameserver 10.1.1.1",
			"nameserver 192.0.2.1\nnameserver 10.1.1.1", "nameserver 192.0.2.1\n"+before),
		replace("a line after ours", text, more+text, more+before),
		replace("a line within", "#= search", more+"#= search",
			"# mine\nnameserver 192.0.2.53\n"+more+"search home.example\n"),
		replace("ours are removed", "nameserver 10.1.1.1\nsearch corp.example\n", "", before),
		replace("ours twice", "nameserver 10.1.1.1\n",
			"nameserver\t10.1.1.1 \nnameserver 0x0a.1.257\n", before),
		replace("others in place of ours", "nameserver 10.1.1.1\nsearch corp.example\n",
			"nameserver 192.0.2.1\nsearch corp.example x.example\n",
			"nameserver 192.0.2.1\nsearch corp.example x.example\n"+before),
		replace("no head", overlayHead+ours+"\n", "", before),
		replace("no names of lines", linesHead+"10.1.1.1"+linesSearch+"corp.example\n", "", before),
		replace("no text", overlayText, "", before),
		replace("no kind", "#= file\n", "", before),
		replace("another owner", "-tun0\n", "-tun9\n", before),
		replace("a restored line", "#= nameserver", "nameserver", before),
		replace("another line restored", "#= nameserver 192.0.2.53", "#= nameserver 192.0.2.54",
			strings.Replace(before, ".53", ".54", 1)),
		replace("CRLF", "\n", "\r\n", before),
		replace("no blanks at the end", "#= \n", "#=\n", before),
		{"sorted", func(s string) string {
			return strings.Join(slices.Sorted(strings.Lines(s)), "")
		}, "\n" + strings.TrimSuffix(before, "\n")},
		{"no end", func(s string) string { return strings.TrimSuffix(s, "\n") }, before},
		{"cut off in the head", func(s string) string { return s[:40] }, ""},
		{"cut off in ours", func(s string) string { return s[:strings.Index(s, "1.1\nsearch")] }, ""},
		{"cut off in the text", func(s string) string { return s[:strings.Index(s, "through")] }, ""},
		{"cut off in a server", func(s string) string { return s[:strings.Index(s, ".2.53")] },
			"# mine\n"},
		{"twice", func(s string) string { return s + s }, before + "\n" + before},
		{"within another", func(s string) string {
			return overlay{owner: "0123456789ab-c1-tun9", lists: lists{Servers: "10.9.9.9"},
				before: saved{kind: savedFile, text: more + s}}.render() + "options b\n"
		}, more + before + "options b\n"},
		{"before it is cut", func(s string) string { return tornRestore(before, len(s)) + more },
			before + more},
	}
}

// overlaid is an overlay of `before`.
func overlaid() string {
	return overlay{owner: ours, lists: file("10.1.1.1").lists,
		before: saved{kind: savedFile, text: before}}.render()
}

// TestEdits takes an overlay out of a file that other programs have edited: with the journal, which
// knows its lines, and without.
func TestEdits(t *testing.T) {
	for _, test := range edits() {
		text := test.edit(overlaid())
		for _, known := range []lists{file("10.1.1.1").lists, {}} {
			if test.name == "cut off in ours" && known.Servers == "" {
				continue // "nameserver 10." could be theirs
			}
			c, is := uncover(text, known)
			unseen := test.name == "another owner" || test.name == "another line restored"
			if got := c.mended(known); !is || c.edited == unseen ||
				got != (saved{savedFile, test.want}) {
				t.Errorf("%s, journal %t: %v, edited %v, left\n%q\nwant\n%q", test.name,
					known.Servers != "", is, c.edited, got.text, test.want)
			}
		}
	}
	for _, text := range []string{before, "", "#= file\n#= nameserver 192.0.2.1\n",
		"nameserver 10.1.1.1\nsearch corp.example\n", "# Made by tunnels\n"} {
		if c, is := uncover(text, file("10.1.1.1").lists); is {
			t.Errorf("%q is %v", text, c)
		}
	}
}

// TestManyEdits has other programs insert, remove, repeat and exchange lines at random: no line of
// this program is left, and none of theirs, nor of what was there before and is there still, lost.
func TestManyEdits(t *testing.T) {
	known := file("10.1.1.1").lists
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 13))
		lines := strings.Split(strings.TrimSuffix(overlaid(), "\n"), "\n")
		var theirs []string
		for n := range 1 + r.IntN(8) {
			at := r.IntN(len(lines))
			switch r.IntN(6) {
			case 0, 1, 2:
				line := fmt.Sprintf("%s %d", []string{"nameserver 192.0.2.", "options timeout:",
					"# a comment", "sortlist 10.1.1."}[r.IntN(4)], n)
				theirs, lines = append(theirs, line), slices.Insert(lines, at, line)
			case 3:
				if !slices.Contains(theirs, lines[at]) && len(lines) > 1 {
					lines = slices.Delete(lines, at, at+1)
				}
			case 4:
				if m, _ := markOf(lines[at]); m != noMark && m != savedMark || known.has(lines[at]) {
					lines = slices.Insert(lines, at, lines[at])
				}
			case 5:
				to := r.IntN(len(lines))
				lines[at], lines[to] = lines[to], lines[at]
			}
		}
		text := strings.Join(lines, "\n") + "\n"
		c, is := uncover(text, known)
		if !is {
			if slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "tunnel") }) {
				t.Fatalf("seed %d: nothing of this program in\n%s", seed, text)
			}
			continue
		}
		left := strings.Split(c.mended(known).text, "\n")
		want := theirs
		for _, line := range lines {
			if old, is := strings.CutPrefix(line, savedPrefix); is && !savedKinds(old) {
				want = append(want, old)
			}
		}
		for _, line := range want {
			if line != "" && !slices.Contains(left, line) {
				t.Fatalf("seed %d: %q is lost of\n%s", seed, line, text)
			}
		}
		for _, line := range left {
			if m, _ := markOf(line); m != noMark || known.has(line) {
				t.Fatalf("seed %d: %q is left of\n%s", seed, line, text)
			}
		}
	}
}

func savedKinds(text string) bool {
	return slices.Contains([]savedKind{savedFile, savedLink, savedNone}, savedKind(text))
}

// warned is a machine, and what it has warned of.
func warned() (journal.Machine, *bytes.Buffer) {
	var log bytes.Buffer
	m := real()
	m.Log = slog.New(slog.NewTextHandler(&log, nil))
	return m, &log
}

// TestFileEdited has real programs edit the file while it is ours. Its end, a next run and a
// cleanup without the journal leave the same, and say so once.
func TestFileEdited(t *testing.T) {
	t.Parallel()
	m := dnstest.New(t)
	const conf = resolvConf
	for _, test := range []struct {
		name, shell, want string
		set               func() // what was there; nil is before
	}{
		{"a line more", "echo options timeout:1 >>" + conf, before + "options timeout:1\n", nil},
		{"sed -i", "sed -i '1i nameserver 192.0.2.77' " + conf,
			"nameserver 192.0.2.77\n" + before, nil},
		{"sed -i, ours removed", "sed -i '/^nameserver/d; /^search/d' " + conf, before, nil},
		{"CRLF", "sed -i 's/$/\\r/' " + conf, before, nil},
		{"truncated", "truncate -s 60 " + conf, "", nil},
		{"moved, and a link", "mv " + conf + " /run/moved; echo options a >>/run/moved; " +
			"ln -s ../run/moved " + conf, before + "options a\n", nil},
		{"a link before, a line more", "echo options a >>" + conf,
			"options a\nnameserver 192.168.9.3\n", func() {
				m.Write("/run/names", "nameserver 192.168.9.3\n")
				m.Link("../run/names")
			}},
		{"a link before, a comment more", "echo '# a' >>" + conf, "-> ../run/names", func() {
			m.Write("/run/names", "nameserver 192.168.9.3\n")
			m.Link("../run/names")
		}},
		{"a link nowhere", "echo options a >>" + conf, "options a\n", func() {
			m.Link("../run/none")
		}},
		{"nothing before", "echo options a >>" + conf, "options a\n", func() {
			m.Run("rm", conf)
		}},
	} {
		for how, undo := range map[string]func(machine journal.Machine) error{
			"end": func(machine journal.Machine) error {
				removed, err := journal.Undo(t.Context(), machine, file("10.1.1.1"))
				if !removed {
					err = errors.Join(err, errors.New("nothing is removed"))
				}
				return err
			},
			"cleanup": func(machine journal.Machine) error {
				removed, err := Heal(t.Context(), machine)
				if !strings.HasPrefix(removed, "DNS servers") {
					err = errors.Join(err, fmt.Errorf("healed %q", removed))
				}
				return err
			},
			"a next run": func(machine journal.Machine) error {
				next := file("10.1.1.9")
				next.Dev, next.Journal = "tun8", "0123456789ab-c1-tun8"
				err := next.Make(t.Context(), machine)
				_, failed := journal.Undo(t.Context(), machine, next)
				return errors.Join(err, failed)
			},
		} {
			m.Plain()
			m.Write(conf, before)
			if test.set != nil {
				test.set()
			}
			machine, log := warned()
			if err := file("10.1.1.1").Make(t.Context(), machine); err != nil {
				t.Fatal(err)
			}
			m.Run("sh", "-c", test.shell)
			if servers, err := Servers(); err != nil || slices.ContainsFunc(servers,
				func(a netip.Addr) bool { return a.String() == "10.1.1.1" }) {
				t.Errorf("%s: servers %v, %v", test.name, servers, err)
			}
			if intact, err := file("10.1.1.1").Intact(machine); intact || err != nil {
				t.Errorf("%s: intact: %v, %v", test.name, intact, err)
			}
			err := undo(machine)
			got := ""
			if target, failed := os.Readlink(conf); failed == nil &&
				strings.HasPrefix(test.want, "-> ") {
				got = "-> " + target
			} else {
				got = m.Read(conf)
			}
			if err != nil || got != test.want {
				t.Errorf("%s, %s: %v, left\n%s\nwant\n%s", test.name, how, err, got, test.want)
			}
			const said = `level=WARN msg="another program has edited /etc/resolv.conf`
			if strings.Count(log.String(), "level=") != 1 || !strings.Contains(log.String(), said) {
				t.Errorf("%s, %s: warned\n%s", test.name, how, log)
			}
			if there, err := file("10.1.1.1").Find(machine); there || err != nil {
				t.Errorf("%s, %s: there: %v, %v", test.name, how, there, err)
			}
		}
	}
}

// TestTwoRunsEdited has two runs have the file one after the other, and an edit in each: the second
// is refused while the first lives, whatever was edited, and what both edits added stays. Not
// parallel, see TestTwoRuns.
func TestTwoRunsEdited(t *testing.T) {
	m := dnstest.New(t)
	dir, err := journal.Dir()
	if err != nil {
		t.Fatal(err)
	}
	open := func(dev string) (*journal.Journal, File) {
		j, err := journal.Open(dir, dev, journal.KindsOf(File{}))
		if err != nil {
			t.Fatal(err)
		}
		return j, File{Dev: dev, Journal: j.Name(), lists: config(true, "10.7.0.1").lists()}
	}
	m.Write(resolvConf, before)
	one, first := open("tun7")
	two, second := open("tun8")
	machine, _ := warned()
	if err := first.Make(t.Context(), machine); err != nil {
		t.Fatal(err)
	}
	m.Run("sh", "-c", "echo options a >>"+resolvConf)
	text := m.Read(resolvConf)
	if err := second.Make(t.Context(), machine); !errors.Is(err, ErrBusy) {
		t.Errorf("with the first: %v", err)
	}
	removed, err := Heal(t.Context(), machine)
	there, failed := second.Find(machine)
	if removed != "" || there || errors.Join(err, failed) != nil || m.Read(resolvConf) != text {
		t.Errorf("healed %q, %v, %v, %v", removed, there, err, failed)
	}
	if err := one.Close(); err != nil { // as by SIGKILL
		t.Fatal(err)
	}
	if err := second.Make(t.Context(), machine); err != nil {
		t.Fatal(err)
	}
	m.Run("sed", "-i", "1i options b", resolvConf)
	if there, err := first.Find(machine); there || err != nil {
		t.Errorf("the first has the second's: %v, %v", there, err)
	}
	undone(t, second, true)
	if got, want := m.Read(resolvConf), "options b\n"+before+"options a\n"; got != want {
		t.Errorf("left\n%s\nwant\n%s", got, want)
	}
	if err := two.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestEditedFull has no room at the end for what is longer than the file: that is an error, the
// file stays, and a cleanup with room succeeds.
func TestEditedFull(t *testing.T) {
	t.Parallel()
	m := dnstest.New(t)
	m.Run("mkdir", "/run/full")
	m.Run("mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", "/run/full")
	m.Write("/run/names", strings.Repeat("nameserver 192.168.9.1\n", 500))
	m.Write("/run/full/resolv.conf", overlay{owner: ours, lists: file("10.1.1.1").lists,
		before: saved{kind: savedLink, text: "../run/names"}}.render()+"options a\n")
	m.Run("mount", "--bind", "/run/full/resolv.conf", resolvConf)
	m.Run("sh", "-c", "cat /dev/zero >/run/full/rest; true")
	text := m.Read(resolvConf)
	if _, err := journal.Undo(context.Background(), real(), file("10.1.1.1")); err == nil ||
		!strings.Contains(err.Error(), "no space left") || m.Read(resolvConf) != text {
		t.Errorf("%v, left\n%.300s", err, m.Read(resolvConf))
	}
	m.Run("rm", "/run/full/rest")
	undone(t, file("10.1.1.1"), true)
	if got := m.Read(resolvConf); got != "options a\n"+m.Read("/run/names") {
		t.Errorf("left\n%.300s", got)
	}
}
