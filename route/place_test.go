package route

import (
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
		if got, err := firstUsable([]string{filepath.Join(base, "no", "parent"), taken, good}); err != nil || got != good {
			t.Errorf("got %s, %v", got, err)
		}
	}
	if info, err := os.Stat(good); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("made with %v, %v", info.Mode(), err)
	}
	_, err := firstUsable([]string{taken})
	want := "use " + taken + ": not a directory): sudo install -d -m 700 -o root " + taken
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestFirstUsableNotRoot(t *testing.T) {
	iptest.NeedRoot(t)
	base := t.TempDir()
	closed, open := filepath.Join(base, "closed"), filepath.Join(base, "open")
	for dir, mode := range map[string]os.FileMode{base: 0o755, filepath.Dir(base): 0o755, closed: 0o700, open: 0o777} {
		if err := os.MkdirAll(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
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
	if got, err := firstUsable([]string{closed, open}); err != nil || got != open {
		t.Errorf("got %s, %v", got, err)
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
	for _, name := range []string{"", "x.json", "0123456789ab-c1-.json", "0123456789ab-c1-tun0.json.new", "0123456789ab-x1-tun0.json"} {
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
