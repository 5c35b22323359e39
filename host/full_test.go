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
	if err := j.Note(route.Device{Dev: "tun0"}); err != nil {
		t.Errorf("what the file still has: %v", err)
	}
	err = j.Note(route.Bypass{
		Dev: "eth0", Prefix: prefix("203.0.113.1/32"), Via: addr("10.77.0.1"),
	})
	if !errors.As(err, &failed) || !strings.Contains(err.Error(),
		"note route 203.0.113.1/32 via 10.77.0.1 dev eth0 in the journal") {
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

// What a device was given is restored also when the journal's directory has become full, and is
// undone in the end. What the journal does not have is not made; however often that fails, nothing
// has taken anything away.
func TestRestoreWithoutRoom(t *testing.T) {
	dir := small(t)
	kernel := pretend(t, true)
	before := kernel.Dump()
	j, err := openJournal(dir, "tun0")
	if err != nil {
		t.Fatal(err)
	}
	r := host.New(journal.Machine{Run: kernel, Look: kernel}, j, nil)
	want := pair("10.1.1.3", "10.1.1.4")
	if err := r.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	given := kernel.Dump()
	room := fill(t, dir)
	for _, change := range []string{
		"ip route del 10.1.1.0/24 via 10.1.1.4 dev tun0",
		"ip addr del dev tun0 local 10.1.1.3 peer 10.1.1.4",
	} {
		do(t, kernel, change)
		if err := r.Apply(t.Context(), want); err != nil || kernel.Dump() != given {
			t.Errorf("after %s: %v, the machine has\n%s", change, err, kernel.Dump())
		}
	}
	room()
	if err := r.Apply(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	do(t, kernel, "ip route del 10.1.1.0/24 via 10.1.1.4 dev tun0")
	err = j.Drop(route.Network{
		Own:    route.Own{Dev: "tun0", Index: indexOf(t, kernel, "tun0")},
		Prefix: prefix("10.1.1.0/24"), Via: addr("10.1.1.4"),
	})
	if err != nil {
		t.Fatal(err)
	}
	room = fill(t, dir)
	for i := range 8 {
		err := r.Apply(t.Context(), want)
		var failed *journal.Error
		if !errors.As(err, &failed) || errors.Is(err, host.ErrContested) {
			t.Fatalf("failure %d: %v", i+1, err)
		}
	}
	room()
	if err := r.Apply(t.Context(), want); err != nil || kernel.Dump() != given {
		t.Errorf("with room: %v, the machine has\n%s", err, kernel.Dump())
	}
	if err := r.Close(); err != nil || kernel.Dump() != before {
		t.Errorf("%v, left\n%s", err, kernel.Dump())
	}
	empty(t, dir)
}

func indexOf(t *testing.T, kernel *iptest.Kernel, dev string) int {
	t.Helper()
	link, err := kernel.LinkByName(dev)
	if err != nil || link.Index == 0 {
		t.Fatal(dev, err)
	}
	return link.Index
}
