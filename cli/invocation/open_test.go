package invocation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// piped returns a pipe by the name that `<(command)` has, and the end to write to.
func piped(t *testing.T) (name string, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return fmt.Sprintf("/dev/fd/%d", r.Fd()), w
}

// TestReadEnds reads a pipe into which nothing is written, until a signal.
func TestReadEnds(t *testing.T) {
	name, _ := piped(t)
	for _, ended := range []bool{true, false} { // before the reading begins, and later
		f, err := OpenFile(name)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if ended {
			cancel()
		}
		result := make(chan error)
		go func() {
			_, err := readAll(ctx, f, 10)
			result <- err
		}()
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		_ = f.Close()
	}
}

// TestReadAll reads pipes of as many bytes as it may, and of one more.
func TestReadAll(t *testing.T) {
	for text, good := range map[string]bool{"": true, "0123456789": true, "0123456789a": false} {
		name, w := piped(t)
		_, err := w.WriteString(text)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		f, err := OpenFile(name)
		if err != nil {
			t.Fatal(err)
		}
		data, err := readAll(t.Context(), f, 10)
		if (err == nil) != good || good && string(data) != text {
			t.Errorf("%q: %q, %v", text, data, err)
		}
		_ = f.Close()
	}
}

// TestOpenFile opens files of different kinds and modes.
func TestOpenFile(t *testing.T) {
	const me, group, world = 0, 4321, 4322
	for what, test := range map[string]struct {
		file, dir os.FileMode
		uid, gid  int
		want      string // part of the error; "" is none
		dirUID    int    // 0 is uid
	}{
		"mine":                           {0o600, 0o755, me, 0, "", 0},
		"for all to read":                {0o644, 0o755, me, 0, "", 0},
		"of root's group":                {0o660, 0o775, me, 0, "", 0},
		"of another user":                {0o600, 0o755, world, group, "", 0},
		"of the user's own group":        {0o660, 0o775, world, world, "", 0},
		"for a group":                    {0o660, 0o755, me, group, "write to it (mode 0660)", 0},
		"for all to write":               {0o602, 0o755, me, 0, "write to it (mode 0602)", 0},
		"in a directory of a group":      {0o600, 0o775, me, group, "where it is (mode 0775)", 0},
		"in a directory of all":          {0o600, 0o777, me, 0, "where it is (mode 0777)", 0},
		"in a sticky directory":          {0o600, 0o777 | os.ModeSticky, me, 0, "", 0},
		"in a directory of another user": {0o600, 0o755, me, 0, "dir, where it is, belongs to", world},
		"in their sticky directory": {0o600, 0o777 | os.ModeSticky, me, 0,
			"dir, where it is, belongs to another user (uid 4322)", world},
		"in a directory of a third user": {0o600, 0o755, group, 0, "where it is, belongs to", world},
		"in a sticky directory, for all": {0o666, 0o777 | os.ModeSticky, me, 0, "write to it", 0},
	} {
		dir := filepath.Join(t.TempDir(), "dir")
		below := filepath.Join(dir, "below")
		file, link := filepath.Join(below, "file"), filepath.Join(t.TempDir(), "link")
		if err := errors.Join(os.Mkdir(dir, 0o700), os.Mkdir(below, 0o700),
			os.WriteFile(file, nil, 0o600), os.Chown(file, test.uid, test.gid),
			os.Chown(dir, cmp.Or(test.dirUID, test.uid), test.gid), os.Chmod(file, test.file),
			os.Chmod(dir, test.dir), os.Symlink(file, link)); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{file, link} {
			f, err := OpenFile(name)
			if (err == nil) != (test.want == "") ||
				err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v; want %q", what, err, test.want)
			}
			if err != nil {
				continue
			}
			owner, public, err := ownerOf(f)
			if err != nil || owner != test.uid || public != (test.file&4 != 0) {
				t.Errorf("%s: owner %d, public %v, %v", what, owner, public, err)
			}
			_ = f.Close()
		}
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{fifo: "it is a FIFO", "/dev/zero": "it is a device",
		t.TempDir(): "is a directory", "/dev/null": ""} {
		f, err := OpenFile(name)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", name, err, want)
		}
		_ = f.Close()
	}
}
