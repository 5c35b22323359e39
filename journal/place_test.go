package journal

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/ipcmd/iptest"
)

func TestFirstUsable(t *testing.T) {
	base := t.TempDir()
	taken := filepath.Join(base, "taken")
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(base, "good")
	for range 2 { // made, then found
		if got, err := firstUsable([]string{filepath.Join(base, "no", "parent"), taken,
			good}); err != nil || got != good {
			t.Errorf("got %s, %v", got, err)
		}
	}
	if info, err := os.Stat(good); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("made with %v, %v", info.Mode(), err)
	}
	_, err := firstUsable([]string{taken})
	var failed *Error
	says := "use " + taken + ": not a directory)"
	if !errors.As(err, &failed) || !strings.Contains(err.Error(), says) ||
		strings.Contains(err.Error(), "\n") {
		t.Fatalf("got %v", err)
	}
	const install = "install -d -m 700 -o root "
	aside := func(dir string) string { return "mv " + dir + " " + dir + ".old && " + install + dir }
	if want := aside(taken); failed.Advice != want {
		t.Errorf("advice %s, want %s", failed.Advice, want)
	}
	dangling := filepath.Join(base, "dangling")
	if err := os.Symlink(filepath.Join(base, "nothing"), dangling); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		dangling:                            aside(dangling),
		filepath.Join(base, "no", "parent"): install + filepath.Join(base, "no", "parent"),
	} {
		if _, err := firstUsable([]string{dir}); !errors.As(err, &failed) || failed.Advice != want {
			t.Errorf("%v: advice %s, want %s", err, failed.Advice, want)
		}
	}
}

func TestFirstUsableNotRoot(t *testing.T) {
	iptest.NeedRoot(t)
	base := t.TempDir()
	closed, open, own := filepath.Join(base, "closed"), filepath.Join(base, "open"),
		filepath.Join(base, "own")
	for dir, mode := range map[string]os.FileMode{base: 0o755, filepath.Dir(base): 0o755,
		closed: 0o700, open: 0o777, own: 0o700} {
		if err := os.MkdirAll(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(own, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	// Only this thread becomes an ordinary user, and root again to clean up.
	runtime.LockOSThread()
	become := func(uid, effective uintptr) {
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, effective, 0); errno != 0 {
			t.Fatal(errno)
		}
	}
	become(65534, 65534)
	t.Cleanup(func() { become(0, 0) })
	if accessible(closed) == nil {
		t.Error("root's directory seems accessible")
	}
	if got, err := firstUsable([]string{closed, open, own}); err != nil || got != own {
		t.Errorf("got %s, %v", got, err)
	}
	if got, err := readable([]string{open, own}); err != nil || len(got) != 1 || got[0] != own {
		t.Errorf("reads in %s, %v", got, err)
	}
	// What README has root make for a user without XDG_RUNTIME_DIR.
	t.Setenv("XDG_RUNTIME_DIR", "")
	made := SystemDir + "-65534"
	if got := candidates(); got[len(got)-1] != made {
		t.Errorf("looks in %s, not in %s", got, made)
	}
	_, err := firstUsable([]string{closed, filepath.Join(closed, "x")})
	var failed *Error
	if want := " " + filepath.Join(closed, "x"); !errors.As(err, &failed) ||
		!strings.HasSuffix(failed.Advice, want) {
		t.Errorf("got %v, want advice to make%s", err, want)
	}
}

// TestForeignDir has root's directory be another user's, or open to others: root takes neither it
// nor another instead.
func TestForeignDir(t *testing.T) {
	iptest.NeedRoot(t)
	for name, change := range map[string]func(dir string) error{
		"another user's": func(dir string) error { return os.Chown(dir, 12345, 12345) },
		"all may write":  func(dir string) error { return os.Chmod(dir, 0o777) },
		"a group may":    func(dir string) error { return os.Chmod(dir, 0o770) },
		"sticky, but another user's": func(dir string) error {
			return errors.Join(os.Chown(dir, 12345, 12345), os.Chmod(dir, 0o1777|os.ModeSticky))
		},
	} {
		dir, other := filepath.Join(t.TempDir(), "tunnel"), t.TempDir()
		if err := errors.Join(os.Mkdir(dir, 0o700), change(dir)); err != nil {
			t.Fatal(err)
		}
		advice := "chown root " + dir + " && chmod 700 " + dir
		got, err := firstUsable([]string{dir, other})
		var failed *Error
		if !errors.Is(err, ErrForeign) || !errors.As(err, &failed) || failed.Advice != advice {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if got, err := readable([]string{dir, other}); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: reads in %q, %v", name, got, err)
		}
		if got, err := firstUsable([]string{filepath.Join(other, "no", "parent"), dir,
			other}); err != nil || got != other {
			t.Errorf("%s, as a later one: %q, %v", name, got, err)
		}
	}
}

// TestStickyDir has root's directory be open to all and sticky, as Docker's --tmpfs makes it:
// journals lie in a part of it that is this user's alone, and one that another user has made first
// is refused.
func TestStickyDir(t *testing.T) {
	iptest.NeedRoot(t)
	sticky := func() (dir, part string) {
		dir = filepath.Join(t.TempDir(), "tunnel")
		if err := errors.Join(os.Mkdir(dir, 0o700),
			os.Chmod(dir, 0o777|os.ModeSticky)); err != nil {
			t.Fatal(err)
		}
		return dir, filepath.Join(dir, "0")
	}
	dir, part := sticky()
	if got, err := readable([]string{dir}); err != nil || len(got) != 0 {
		t.Errorf("before it is made: reads in %q, %v", got, err)
	}
	for range 2 { // made, then found
		if got, err := firstUsable([]string{dir}); err != nil || got != part {
			t.Errorf("got %s, %v", got, err)
		}
	}
	if info, err := os.Lstat(part); err != nil || info.Mode().Perm() != 0o700 || !info.IsDir() {
		t.Errorf("made %v, %v", info, err)
	}
	if got, err := readable([]string{dir}); err != nil || len(got) != 1 || got[0] != part {
		t.Errorf("reads in %q, %v", got, err)
	}
	for name, plant := range map[string]func(part string) error{
		"a directory": func(part string) error { return os.Mkdir(part, 0o700) },
		"a file":      func(part string) error { return os.WriteFile(part, nil, 0o600) },
		"a link":      func(part string) error { return os.Symlink(t.TempDir(), part) },
	} {
		dir, part := sticky()
		if err := errors.Join(plant(part), os.Lchown(part, 12345, 12345)); err != nil {
			t.Fatal(err)
		}
		if got, err := firstUsable([]string{dir, t.TempDir()}); !errors.Is(err, ErrForeign) {
			t.Errorf("%s of another user: %q, %v", name, got, err)
		}
		if got, err := readable([]string{dir, t.TempDir()}); !errors.Is(err, ErrForeign) {
			t.Errorf("%s of another user: reads in %q, %v", name, got, err)
		}
	}
}

func TestFileName(t *testing.T) {
	here, err := currentKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, dev := range []string{"tun0", "a-b.c", "x.json"} {
		if got, name, ok := fileName(here.file(dev)); !ok || got != here || name != dev {
			t.Errorf("%s: got %v, %s, %v", dev, got, name, ok)
		}
	}
	for _, name := range []string{"", "x.json", "0123456789ab-c1-.json",
		"0123456789ab-c1-tun0.json.new", "0123456789ab-x1-tun0.json"} {
		if _, _, ok := fileName(name); ok {
			t.Errorf("%s is taken for a journal", name)
		}
	}
}

func TestKeysOfNamespacesDiffer(t *testing.T) {
	outside, err := currentKey()
	if err != nil {
		t.Fatal(err)
	}
	iptest.Namespace(t)
	inside, err := currentKey()
	if err != nil || inside.boot != outside.boot || inside.namespace == outside.namespace {
		t.Errorf("outside %v, inside %v, %v", outside, inside, err)
	}
}
