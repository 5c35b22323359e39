package host_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/route"
)

// fill takes all room that a directory has, and returns how to give it back.
func fill(t *testing.T, dir string) (room func()) {
	t.Helper()
	path := filepath.Join(dir, "fill")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = file.Write(make([]byte, os.Getpagesize()))
	}
	if closing := file.Close(); closing != nil || !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err, closing)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// small mounts a file system of 32 KiB, for this thread alone, and returns where.
func small(t *testing.T) string {
	t.Helper()
	iptest.NeedRoot(t)
	runtime.LockOSThread() // and never unlocked: the thread ends with the test, and its mounts do
	dir := t.TempDir()
	err := errors.Join(unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_FS),
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("none", dir, "tmpfs", 0, "size=32k,mode=700"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestFullJournal has no room for the journal: nothing may be added, what is there is taken away
// all the same, and what to do is said.
func TestFullJournal(t *testing.T) {
	dir := small(t)
	room := fill(t, dir)
	_, err := openJournal(dir, "tun0")
	var failed *journal.Error
	if !errors.As(err, &failed) || failed.Advice != "make room on the file system of "+dir {
		t.Errorf("opened: %v", err)
	}
	room()
	empty(t, dir)

	j, err := openJournal(dir, "tun0")
	if err == nil {
		err = j.Note(route.Device{Dev: "tun0"})
	}
	if err != nil {
		t.Fatal(err)
	}
	room = fill(t, dir)
	if err := j.Drop(route.Device{Dev: "tun0"}); err != nil {
		t.Errorf("without room: %v", err)
	}
	err = j.Note(route.Device{Dev: "tun0"})
	if !errors.As(err, &failed) || !strings.Contains(err.Error(),
		"note device tun0 in the journal") {
		t.Errorf("noted: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	room()
	empty(t, dir)

	kernel := pretend(t, true)
	before := kernel.Dump()
	do(t, kernel, strings.TrimSpace(addBypass))
	leave(t, dir, headLine+bypassLine)
	room = fill(t, dir)
	report, err := journal.Cleanup(t.Context(), journal.Machine{Run: kernel, Look: kernel},
		host.Kinds(), nil, dir)
	if err != nil || len(report.Removed) != 1 || kernel.Dump() != before {
		t.Errorf("cleanup: %v, %v, left\n%s", report, err, kernel.Dump())
	}
	room()
	empty(t, dir)
}
