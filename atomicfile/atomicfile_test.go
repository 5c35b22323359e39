package atomicfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/atomicfile"
)

// Links that somebody else has put into the directory lead nowhere.
func TestLinks(t *testing.T) {
	dir := t.TempDir()
	path, target := filepath.Join(dir, "file"), filepath.Join(dir, "target")
	if err := os.WriteFile(target, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + ".new"} {
		if err := os.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := atomicfile.Read(path); err == nil {
		t.Errorf("read %q through a link", data)
	}
	if f, err := atomicfile.Open(path, os.O_RDWR|os.O_CREATE, 0o600); err == nil {
		_ = f.Close()
		t.Error("opened a link")
	}
	if err := atomicfile.Replace(path, []byte("new")); err != nil {
		t.Error(err)
	}
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if data, err := atomicfile.Read(path); err != nil || string(data) != "new" {
		t.Errorf("%q, %v", data, err)
	}
	if data, err := os.ReadFile(target); err != nil || string(data) != "precious" {
		t.Errorf("the link's target: %q, %v", data, err)
	}
}

// What is no file keeps nobody waiting.
func TestNotAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := atomicfile.Read(path); err == nil {
		t.Errorf("read %q from a FIFO", data)
	}
}
