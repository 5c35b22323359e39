package host_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/cmdrun"
	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/route"
	"tunnel/rtnl"
)

const helperVariable = "TUNNEL_TEST_JOURNALS"

// TestMain lets the test binary be the run that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(helperVariable); dir != "" {
		if err := victim(dir); err != nil {
			fmt.Println(err)
		}
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// victim is a client as far as this package is concerned; it says that it is up and waits for its
// end.
func victim(dir string) error {
	j, err := openJournal(dir, "tun0")
	if err != nil {
		return err
	}
	ctx := context.Background()
	want, at := victimsWant()
	run := &killer{Runner: cmdrun.NewExec(nil), at: at}
	r := host.New(journal.Machine{Run: run, Look: rtnl.Kernel{}}, j, nil)
	if err := r.Bypass(ctx, port("101.43.253.110")); err != nil {
		return err
	}
	if err := r.Apply(ctx, want); err != nil {
		return err
	}
	fmt.Println("up")
	select {}
}

// killVariable is the number of the command before which a victim with a firewall is killed, or if
// it is negative, behind which. With 0 it is not.
const killVariable = "TUNNEL_TEST_KILL_AT"

// killer kills this process at a command that changes something.
type killer struct {
	cmdrun.Runner

	at, ran int
}

func (k *killer) Run(ctx context.Context, c cmdrun.Command) ([]byte, error) {
	if slices.Contains(c.Args, "list") {
		return k.Runner.Run(ctx, c)
	}
	k.ran++
	if k.ran == k.at {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	}
	out, err := k.Runner.Run(ctx, c)
	if k.ran == -k.at {
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	}
	return out, err
}

// startVictim starts a victim in the calling thread's network namespace and returns once it is up.
func startVictim(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), helperVariable+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "up\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	return cmd
}

func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // says that it was killed
}

// journalPath returns the only file in dir.
func journalPath(t *testing.T, dir string) string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("in the journal's directory: %v, %v", files, err)
	}
	return filepath.Join(dir, files[0].Name())
}

// leave writes a journal as a killed run leaves it and returns its path.
func leave(t *testing.T, dir, content string) string {
	t.Helper()
	j, err := openJournal(dir, "tun0")
	if err != nil {
		t.Fatal(err)
	}
	path := journalPath(t, dir)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	bypassLine = `{"kind":"bypass","dev":"ens160","prefix":"101.43.253.110/32",` +
		`"via":"192.168.107.2"}` + "\n"
	headLine = `{"tunnel":"tun0","pid":1}` + "\n"
)

func TestJournalBusy(t *testing.T) {
	dir := t.TempDir()
	j, err := openJournal(dir, "tun0")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // also after the file was replaced
		_, err = openJournal(dir, "tun0")
		want := fmt.Sprintf("device tun0 is in use by another run of tunnel (pid %d)", os.Getpid())
		if !errors.Is(err, journal.ErrBusy) || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if err := j.Note(route.Device{Dev: "tun0"}); err != nil {
			t.Fatal(err)
		}
	}
	if report, err := journal.Cleanup(t.Context(),
		journal.Machine{Run: iptest.New(), Look: iptest.New()}, host.Kinds(), nil,
		dir); err != nil || len(report.Busy) != 1 ||
		report.Busy[0].Dev != "tun0" || report.Busy[0].PID != os.Getpid() {
		t.Errorf("cleanup: %+v, %v", report, err)
	}
	other, err := openJournal(dir, "tun1")
	if err != nil {
		t.Errorf("another device: %v", err)
	}
	if err := errors.Join(j.Close(), j.Close(), other.Close()); err != nil {
		t.Error(err)
	}
	empty(t, dir)
	if err := j.Note(route.Device{Dev: "tun0"}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("noted after Close: %v", err)
	}
	if _, err := openJournal(dir, "../x"); err == nil {
		t.Error("a name outside the directory passes")
	}
}

// Many runs want the same journal; only one of them gets it.
func TestJournalRace(t *testing.T) {
	dir := t.TempDir()
	holders := make(chan struct{}, 1)
	done := make(chan error)
	for range 4 {
		go func() {
			for range 50 {
				j, err := openJournal(dir, "tun0")
				if errors.Is(err, journal.ErrBusy) {
					continue
				}
				if err != nil {
					done <- err
					return
				}
				select {
				case holders <- struct{}{}:
				default:
					done <- errors.New("two hold the journal")
					return
				}
				err = errors.Join(j.Note(route.Device{Dev: "tun0"}),
					j.Drop(route.Device{Dev: "tun0"}))
				<-holders
				if err := errors.Join(err, j.Close()); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	empty(t, dir)
}

// What parses is kept, what does not is no obstacle, and nothing but a typed entry is ever undone.
func TestHealDamaged(t *testing.T) {
	for name, content := range map[string]string{
		"whole":          headLine + bypassLine,
		"no header":      bypassLine,
		"cut at the end": headLine + bypassLine + `{"kind":"bypass","dev":"ens1`,
		"rubbish":        "\x00\x00\n" + bypassLine + "rm -rf /\n[]\nnull\n{}\n",
		"not ours": headLine + bypassLine +
			`{"kind":"command","dev":"ens160"}` + "\n" +
			`{"kind":"bypass","dev":"ens160","prefix":"0.0.0.0/0","via":"192.168.107.2"}` + "\n" +
			`{"kind":"route","dev":"ens160","prefix":"192.168.107.0/24"}` + "\n" +
			`{"kind":"address","dev":"a b","local":"10.1.1.1","peer":"10.1.1.2"}` + "\n" +
			`{"kind":"device","dev":""}` + "\n",
		"twice": headLine + bypassLine + bypassLine,
	} {
		t.Run(name, func(t *testing.T) {
			kernel, dir := pretend(t, true), t.TempDir()
			before := kernel.Dump()
			do(t, kernel, strings.TrimSpace(addBypass))
			leave(t, dir, content)
			j, err := openJournal(dir, "tun0")
			if err != nil {
				t.Fatal(err)
			}
			if err := j.Note(route.Device{Dev: "tun0"}); err == nil {
				t.Error("a journal that is not healed takes notes")
			}
			recorder := iptest.NewRecorder(kernel)
			removed, err := j.Heal(t.Context(), journal.Machine{Run: recorder, Look: kernel})
			if err != nil || strings.Join(removed,
				",") != "route 101.43.253.110/32 via 192.168.107.2 dev ens160" {
				t.Errorf("got %v, %v", removed, err)
			}
			if got := recorder.Transcript(); got != delBypass || kernel.Dump() != before {
				t.Errorf("ran\n%sleft\n%s", got, kernel.Dump())
			}
			if err := errors.Join(j.Note(route.Device{Dev: "tun0"}), j.Close()); err != nil {
				t.Error(err)
			}
			empty(t, dir)
		})
	}
}

func TestHealFailure(t *testing.T) {
	kernel, dir := pretend(t, true), t.TempDir()
	do(t, kernel, strings.TrimSpace(addBypass))
	leave(t, dir, headLine+bypassLine)
	j, err := openJournal(dir, "tun0")
	if err != nil {
		t.Fatal(err)
	}
	kernel.Fail(strings.TrimSpace(delBypass), 2, "RTNETLINK answers: Operation not permitted")
	if removed, err := j.Heal(t.Context(), journal.Machine{Run: kernel,
		Look: kernel}); !errors.Is(err, os.ErrPermission) || removed != nil {
		t.Errorf("got %v, %v", removed, err)
	}
	if err := j.Close(); err != nil { // the file stays
		t.Fatal(err)
	}
	kernel.Fail(strings.TrimSpace(delBypass), 0, "")
	if report, err := journal.Cleanup(t.Context(), journal.Machine{Run: kernel, Look: kernel},
		host.Kinds(), nil, dir); err != nil || len(report.Removed) != 1 {
		t.Errorf("got %v, %v", report, err)
	}
	empty(t, dir)
}

// A route like the noted one, but not the same, is not ours.
func TestHealLeavesOthers(t *testing.T) {
	for _, other := range []string{
		"ip -4 r a 101.43.253.110/32 via 192.168.107.3 dev ens160",
		"ip -4 r a 101.43.253.110/32 via 192.168.107.2 dev tun0",
		"ip -4 r a 101.43.253.110/32 via 192.168.107.2 dev ens160 proto static",
		"ip -4 r a 101.43.253.110/32 dev ens160",
	} {
		kernel, dir := pretend(t, true), t.TempDir()
		do(t, kernel, other)
		before := kernel.Dump()
		leave(t, dir, headLine+bypassLine)
		report, err := journal.Cleanup(t.Context(), journal.Machine{Run: kernel, Look: kernel},
			host.Kinds(), nil, dir)
		if err != nil || len(report.Removed) != 0 || kernel.Dump() != before {
			t.Errorf("%s: got %v, %v", other, report, err)
		}
		empty(t, dir)
	}
}

func TestCleanupOtherJournals(t *testing.T) {
	kernel, dir := pretend(t, true), t.TempDir()
	do(t, kernel, strings.TrimSpace(addBypass))
	before := kernel.Dump()
	path := leave(t, dir, headLine+bypassLine)
	boot, rest, _ := strings.Cut(filepath.Base(path), "-")
	_, device, _ := strings.Cut(rest, "-")
	otherBoot := filepath.Join(dir, strings.Repeat("0", len(boot))+"-"+rest)
	otherNamespace := filepath.Join(dir, boot+"-c18446744073709551615-"+device)
	unrelated := filepath.Join(dir, "notes.json")
	for _, name := range []string{otherBoot, unrelated} {
		if err := os.WriteFile(name, []byte(headLine+bypassLine), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(path, otherNamespace); err != nil {
		t.Fatal(err)
	}
	report, err := journal.Cleanup(t.Context(), journal.Machine{Run: kernel, Look: kernel},
		host.Kinds(), nil, dir, filepath.Join(dir, "none"))
	if err != nil || len(report.Removed) != 0 || kernel.Dump() != before {
		t.Errorf("got %v, %v", report, err)
	}
	for name, stays := range map[string]bool{otherBoot: false, otherNamespace: true,
		unrelated: true} {
		if _, err := os.Stat(name); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Root does not let other users' files tell it what to undo, nor what to write to.
func TestForeignJournals(t *testing.T) {
	iptest.NeedRoot(t)
	for name, plant := range map[string]func(t *testing.T, path string) error{
		"another user's": func(_ *testing.T,
			path string) error {
			return os.Chown(path, 65534, 65534)
		},
		"hard link": func(t *testing.T, path string) error {
			t.Helper()
			return os.Link(path, filepath.Join(t.TempDir(), "other name"))
		},
		"symbolic link": func(t *testing.T, path string) error {
			t.Helper()
			target := filepath.Join(t.TempDir(), "target")
			return errors.Join(os.Rename(path, target), os.Symlink(target, path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			kernel, dir := pretend(t, true), t.TempDir()
			do(t, kernel, strings.TrimSpace(addBypass))
			before := kernel.Dump()
			path := leave(t, dir, headLine+bypassLine)
			if err := plant(t, path); err != nil {
				t.Fatal(err)
			}
			if _, err := openJournal(dir, "tun0"); !errors.Is(err, journal.ErrForeign) {
				t.Errorf("opened: %v", err)
			}
			var out strings.Builder
			report, err := journal.Cleanup(t.Context(), journal.Machine{Run: kernel, Look: kernel},
				host.Kinds(), slog.New(slog.NewTextHandler(&out, nil)), dir)
			if err != nil || len(report.Removed) != 0 || kernel.Dump() != before {
				t.Errorf("got %v, %v", report, err)
			}
			if !strings.Contains(out.String(), `level=WARN msg="journal ignored"`) {
				t.Errorf("no warning: %s", &out)
			}
			if content, err := os.ReadFile(path); err != nil ||
				string(content) != headLine+bypassLine {
				t.Errorf("changed to %s, %v", content, err)
			}
		})
	}
}
