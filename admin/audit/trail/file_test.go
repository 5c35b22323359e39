package trail

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/admin/audit"
)

// A file is its owner's alone, grows to its size, and four earlier ones are kept.
func TestRotate(t *testing.T) {
	const size, entries = 2000, 200
	name := filepath.Join(t.TempDir(), "audit.log")
	trail, log := opened(t, name, size)
	for i := range entries {
		write(t, trail, entry(audit.TokenCreated, fmt.Sprint("t", i)))
	}
	var all []audit.Entry
	for _, n := range []string{".4", ".3", ".2", ".1", ""} {
		info, err := os.Stat(name + n)
		if err != nil || info.Size() > size || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", n, info, err)
		}
		all = append(all, lines(t, name+n)...)
	}
	if left, _ := filepath.Glob(name + "*"); len(left) != keep+1 {
		t.Errorf("there are %q", left)
	}
	for i, e := range all { // none is missing between those that are kept
		if e.Token != fmt.Sprint("t", entries-len(all)+i) {
			t.Fatalf("entry %d is %s of %d", i, e.Token, len(all))
		}
	}
	if log.Len() > 0 {
		t.Error(log)
	}
}

// A rotation that cannot be is said, loses no line and no earlier file, and is tried again.
func TestRotateFails(t *testing.T) {
	for name, make := range map[string]struct{ hinder, end func(string) error }{
		"bound in a container": {
			func(n string) error { return unix.Mount(n, n, "", unix.MS_BIND, "") },
			func(n string) error { return unix.Unmount(n, 0) },
		},
		"another user's": {
			func(n string) error {
				return errors.Join(os.WriteFile(n+".3", []byte("theirs"), 0o600), os.Chown(n+".3", 1, 1))
			},
			func(n string) error { return os.Remove(n + ".3") },
		},
		"a directory": {
			func(n string) error { return os.Mkdir(n+".1", 0o700) },
			func(n string) error { return os.Remove(n + ".1") },
		},
		"a bound earlier one": {
			func(n string) error {
				return errors.Join(os.WriteFile(n+".1", nil, 0o600),
					unix.Mount(n+".1", n+".1", "", unix.MS_BIND, ""))
			},
			func(n string) error { return errors.Join(unix.Unmount(n+".1", 0), os.Remove(n+".1")) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "audit.log")
			trail, log := opened(t, name, 500)
			write(t, trail, entry(audit.TokenCreated, "t0"))
			if err := errors.Join(os.WriteFile(name+".2", []byte("earlier"), 0o600),
				make.hinder(name)); err != nil {
				t.Fatal(err)
			}
			const entries = 20
			for i := range entries - 1 {
				write(t, trail, entry(audit.TokenCreated, fmt.Sprint("t", i+1)))
			}
			if got := lines(t, name); len(got) != entries {
				t.Errorf("%d of %d lines", len(got), entries)
			}
			second, _ := os.ReadFile(name + ".2")
			third, _ := os.ReadFile(name + ".3")
			if string(second) != "earlier" && string(third) != "earlier" {
				t.Errorf("the earlier file is lost: %q, %q", second, third)
			}
			if strings.Count(log.String(), "cannot be rotated") != 1 ||
				strings.Contains(log.String(), "cannot be written") {
				t.Error(log)
			}
			if err := make.end(name); err != nil {
				t.Fatal(err)
			}
			write(t, trail, entry(audit.TokenCreated, "last"))
			if got := lines(t, name); len(got) != 1 || len(lines(t, name+".1")) != entries {
				t.Errorf("it is not rotated afterwards: %+v", got)
			}
		})
	}
}

// A rotation that was broken off by a power cut is ended, and loses nothing.
func TestRotateBrokenOff(t *testing.T) {
	name := filepath.Join(t.TempDir(), "audit.log")
	trail, log := opened(t, name, 400)
	write(t, trail, entry(audit.TokenCreated, "t0"))
	if err := os.Rename(name, name+".0"); err != nil {
		t.Fatal(err)
	}
	for i := range 8 {
		write(t, trail, entry(audit.TokenCreated, fmt.Sprint("t", i+1)))
	}
	var all []audit.Entry
	for _, n := range []string{".4", ".3", ".2", ".1", ""} {
		all = append(all, lines(t, name+n)...)
	}
	if len(all) != 9 || all[0].Token != "t0" || log.Len() > 0 {
		t.Errorf("%+v, %s", all, log)
	}
}

// A directory in which others can put another file in its place is not used; nor is a file that
// another hub writes to.
func TestForeignDirectory(t *testing.T) {
	for name, make := range map[string]func(string) error{
		"other owner": func(d string) error { return os.Chown(d, 1, 1) },
		"group":       func(d string) error { return os.Chmod(d, 0o775) },
		"others":      func(d string) error { return os.Chmod(d, 0o757) },
	} {
		dir := t.TempDir()
		if err := make(dir); err != nil {
			t.Fatal(err)
		}
		trail, err := Open(filepath.Join(dir, "log"), 0, slog.New(slog.DiscardHandler))
		if !errors.Is(err, errForeignDir) {
			t.Errorf("%s: %v, %v", name, trail, err)
		}
	}
	name := filepath.Join(t.TempDir(), "audit.log")
	opened(t, name, 0)
	if _, err := Open(name, 0, slog.New(slog.DiscardHandler)); !errors.Is(err, errTwice) {
		t.Errorf("two hubs write to one file: %v", err)
	}
	// the directory is the one that was opened, whatever has its name
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	trail, _ := opened(t, filepath.Join(dir, "log"), 0)
	elsewhere := t.TempDir()
	if err := errors.Join(os.Rename(dir, dir+".old"), os.Symlink(elsewhere, dir)); err != nil {
		t.Fatal(err)
	}
	write(t, trail, entry(audit.Kicked, "a"))
	if all, _ := os.ReadDir(elsewhere); len(all) > 0 || len(lines(t, dir+".old/log")) != 1 {
		t.Errorf("%v is written elsewhere", all)
	}
}

// A process that was broken into cannot fill the disk at once; what it wanted to is counted.
func TestTooFast(t *testing.T) {
	name := filepath.Join(t.TempDir(), "audit.log")
	trail, log := opened(t, name, 0)
	long := entry(audit.Kicked, "a")
	long.Detail, long.Reason = strings.Repeat("b", 256), strings.Repeat("c", 256)
	const entries = 12_000 // of more than 600 bytes
	for range entries {
		write(t, trail, long)
	}
	info, err := os.Stat(name)
	if err != nil || info.Size() < maxBytes/2 || info.Size() > 2*maxBytes ||
		!strings.Contains(log.String(), errTooFast.Error()) {
		t.Errorf("%v, %v, %s", info, err, log)
	}
	got := lines(t, name)
	written, lost := 0, uint64(0)
	for _, e := range got {
		if e.Event == audit.Kicked {
			written++
		}
		lost += e.Lost
	}
	if uint64(written)+lost+trail.lost != entries {
		t.Errorf("%d written, %d and %d lost", written, lost, trail.lost)
	}
	for i := range uint32(2 * maxCached) {
		trail.user(4_000_000_000 + i)
	}
	if len(trail.users) > maxCached {
		t.Errorf("%d names", len(trail.users))
	}
}
