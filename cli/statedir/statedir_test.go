package statedir

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/privsep/sandbox"
)

// TestAdviceKeepsForeignDirectories offers chown -R for nothing but a state directory: --state may
// be mistyped, even as /etc.
func TestAdviceKeepsForeignDirectories(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, whose directories are handed over")
	}
	owner := sandbox.User{Name: "nobody", UID: 65534, GID: 65534}
	for _, test := range []struct {
		files []string
		uid   int // of the directory
		chown bool
	}{
		{[]string{"passwd"}, 0, false},
		{[]string{"key.pem", "cert.pem"}, 0, false}, // as /etc/nginx/tls has
		{[]string{FileName, "notes"}, 0, false},
		{[]string{"passwd"}, 54321, false},
		{[]string{"cert.pem"}, 54321, false},
		{[]string{FileName, "key.pem"}, 54321, true},
		{nil, 54321, true},
	} {
		name := filepath.Join(t.TempDir(), "state")
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, file := range test.files {
			if err := os.WriteFile(filepath.Join(name, file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(name, test.uid, test.uid); err != nil {
			t.Fatal(err)
		}
		dir, _, err := Open(Choice{Dir: name, Given: true}, owner, 0)
		if err == nil {
			_ = dir.Close()
			t.Errorf("%v of user %d: it was opened", test.files, test.uid)
			continue
		}
		if text := err.Error(); strings.Contains(text, "chown -R") != test.chown ||
			!strings.Contains(text, "give a directory of its own with --state DIR") {
			t.Errorf("%v of user %d: %s", test.files, test.uid, text)
		}
	}
}

// TestTakeBack has root without CAP_DAC_OVERRIDE, as in a container, take a directory back that was
// another user's: with all files of the program, also the authority's.
func TestTakeBack(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, who may change owners")
	}
	const nobody = 65534
	name := filepath.Join(t.TempDir(), "state")
	acme := filepath.Join(name, ACMEDir)
	all := []string{filepath.Join(name, FileName), filepath.Join(acme, "account"), acme, name}
	if err := os.MkdirAll(acme, 0o700); err != nil {
		t.Fatal(err)
	}
	for i, file := range all {
		if i < 2 {
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(file, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	withoutOverride(t, func() {
		var dir *os.File
		if dir, _, err = Open(Choice{Dir: name, Given: true}, sandbox.User{Name: "root"},
			nobody); err == nil {
			_ = dir.Close()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := info.Sys().(*syscall.Stat_t); !ok || s.Uid != 0 {
			t.Errorf("%s belongs to %+v", file, info.Sys())
		}
	}
}

// withoutOverride calls f in a thread that has to keep to the modes of files.
func withoutOverride(t *testing.T, f func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for ever: the thread ends with this goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var sets [2]unix.CapUserData
		err := unix.Capget(&header, &sets[0])
		if err == nil {
			sets[0].Effective &^= 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
			err = unix.Capset(&header, &sets[0])
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
