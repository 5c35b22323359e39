package netwatch

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A change of a file is told whatever way it is made, and only a change.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	link, target, other := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "target"),
		filepath.Join(dir, "other")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write(target, "nameserver 192.0.2.1")
	must(os.Symlink(target, link))
	f := newFiles([]string{filepath.Join(dir, "none"), link}, time.Now())
	for _, test := range []struct {
		name   string
		change func()
		want   bool
	}{
		{"nothing", func() {}, false},
		{"written in place", func() { write(target, "nameserver 192.0.2.99") }, true},
		{"touched", func() { must(os.Chtimes(target, time.Time{}, time.Unix(1e9, 0))) }, true},
		{"nothing again", func() {}, false},
		{"replaced behind the link", func() {
			write(other, "nameserver 192.0.2.98")
			must(os.Chtimes(other, time.Time{}, time.Unix(1e9, 0)))
			must(os.Rename(other, target))
		}, true},
		{"removed", func() { must(os.Remove(target)) }, true},
		{"still not there", func() {}, false},
		{"there again", func() { write(target, "") }, true},
	} {
		test.change()
		if f.changed(f.due.Add(-1)) {
			t.Errorf("%s: looked before it was due", test.name)
		}
		if got := f.changed(f.due); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	if now := time.Now(); !f.due.After(now) {
		t.Error("looks all the time")
	} else if f.hasten(now); f.due != now.Add(fileSettle) {
		t.Errorf("after another change it looks %v later", f.due.Sub(now))
	}
}
