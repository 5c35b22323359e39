package atomicfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tunnel/atomicfile"
)

// TestLockFollowsTheName has another process wait for a file that its holder replaces, and then
// removes: each time it must get the file that the name leads to, and never one that its holder has
// still.
func TestLockFollowsTheName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	holder, err := atomicfile.Lock(path, os.O_CREATE, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Replace([]byte("one"), false); err != nil {
		t.Fatal(err)
	}
	if _, err := atomicfile.Lock(path, os.O_CREATE, 0); !errors.Is(err, atomicfile.ErrLocked) {
		t.Errorf("after a replacement: %v", err)
	}
	got := make(chan *atomicfile.Locked)
	go func() {
		other, err := atomicfile.Lock(path, os.O_CREATE, time.Minute)
		if err != nil {
			t.Error(err)
		}
		got <- other
	}()
	for range 20 { // the other waits for one of these
		if err := holder.Replace([]byte("two"), true); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
		select {
		case <-got:
			t.Fatal("two hold the file")
		default:
		}
	}
	if err := holder.Remove(); err != nil {
		t.Fatal(err)
	}
	other := <-got
	if other == nil {
		return
	}
	if err := other.Replace([]byte("three"), true); err != nil {
		t.Fatal(err)
	}
	if text, err := atomicfile.Read(path); err != nil || string(text) != "three" {
		t.Errorf("the file holds %q, %v", text, err)
	}
	if text, err := other.Read(3); err != nil || string(text) != "thr" {
		t.Errorf("read %q, %v", text, err)
	}
	if err := other.Close(); err != nil {
		t.Error(err)
	}
}
