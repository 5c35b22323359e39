package state

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// waits returns when n writes wait for their transaction.
func waits(t *testing.T, f *File, n int) {
	t.Helper()
	for late := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		f.commits.mu.Lock()
		waiting := len(f.commits.waiting)
		f.commits.mu.Unlock()
		if waiting == n {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("%d writes wait; want %d", waiting, n)
		}
	}
}

// atOnce has n writers write while a transaction is under way, and returns their errors.
func atOnce(t *testing.T, f *File, n int, write func(i int) error) []error {
	t.Helper()
	errs := make([]error, n)
	var group sync.WaitGroup
	f.commits.turn.Lock()
	for i := range n {
		group.Go(func() { errs[i] = write(i) })
		waits(t, f, i+1) // so that their order is known
	}
	f.commits.turn.Unlock()
	group.Wait()
	return errs
}

// committed returns how many transactions have written the file.
func committed(t *testing.T, f *File) (n int) {
	t.Helper()
	if err := f.db.View(func(tx *bbolt.Tx) error { n = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// Whatever is written while the disk is busy needs one more transaction, and its two syncs, not one
// each.
func TestWritesShareACommit(t *testing.T) {
	path := path(t)
	f := opened(t, path)
	if err := f.Bucket("a").Write(map[string][]byte{"first": nil}); err != nil {
		t.Fatal(err)
	}
	const n = 100
	before := committed(t, f)
	errs := atOnce(t, f, n, func(i int) error {
		return f.Bucket("ab"[i%2 : i%2+1]).Write(map[string][]byte{fmt.Sprint(i): []byte("value"),
			"last": fmt.Append(nil, i)})
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if transactions := committed(t, f) - before; transactions != 1 {
		t.Errorf("%d writes at once took %d transactions", n, transactions)
	}
	// Durable: another look at the file, by a reader who knows nothing of this process, has them
	// all.
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	copied := path + ".copy"
	if err := os.WriteFile(copied, data, 0o600); err != nil {
		t.Fatal(err)
	}
	again := opened(t, copied)
	a, b := all(t, again.Bucket("a")), all(t, again.Bucket("b"))
	if len(a) != 1+n/2+1 || len(b) != n/2+1 || a["last"] != "98" || b["last"] != "99" {
		t.Errorf("kept %d and %d keys, last %s and %s", len(a), len(b), a["last"], b["last"])
	}
}

// A write that bbolt cannot take fails alone: those that share its transaction do not.
func TestBadWriteFailsAlone(t *testing.T) {
	f := opened(t, path(t))
	errs := atOnce(t, f, 20, func(i int) error {
		key := fmt.Sprint(i)
		if i%7 == 3 {
			key = "" // is none
		}
		return f.Bucket("b").Write(map[string][]byte{key: nil, "of " + fmt.Sprint(i): nil})
	})
	got := all(t, f.Bucket("b"))
	for i, err := range errs {
		bad := i%7 == 3
		if _, there := got["of "+fmt.Sprint(i)]; (err != nil) != bad || there == bad {
			t.Errorf("write %d: %v, in the file: %v", i, err, there)
		}
	}
	if len(got) != 2*17 {
		t.Errorf("kept %d keys", len(got))
	}
}

// What breaks the file under all of them is told to each, and none waits for ever.
func TestBrokenCommitFailsAll(t *testing.T) {
	path := path(t)
	if err := os.WriteFile(path, filled(t), 0o600); err != nil {
		t.Fatal(err)
	}
	f := opened(t, path)
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	errs := atOnce(t, f, 20,
		func(i int) error { return f.Bucket("b").Write(map[string][]byte{fmt.Sprint(i): nil}) })
	for i, err := range errs {
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("write %d: %v", i, err)
		}
	}
}
