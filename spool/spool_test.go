package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tunnel/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reader takes what is written to it while it is open, and lets its writer wait while it is not.
type reader struct {
	mu     sync.Mutex
	text   bytes.Buffer
	gate   sync.Mutex // held while nobody reads
	begun  chan struct{}
	failed error
}

func newReader() *reader { return &reader{begun: make(chan struct{}, 1)} }

func (r *reader) Write(b []byte) (int, error) {
	select {
	case r.begun <- struct{}{}:
	default:
	}
	r.gate.Lock()
	defer r.gate.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil {
		return 0, r.failed
	}
	return r.text.Write(b)
}

func (r *reader) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// TestStalled writes without end to a reader that has stopped: nothing waits, and the reader gets the newest, in order, and
// hears in one line how many it did not get.
func TestStalled(t *testing.T) {
	r := newReader()
	w := spool.New(r)
	w.SetNotice(func(lines uint64) []byte { return fmt.Appendf(nil, "lost %d\n", lines) })
	w.Detach()
	r.gate.Lock()
	const count = 100000
	for i := range count {
		if n, err := fmt.Fprintf(w, "line %d\n", i); err != nil || n == 0 {
			t.Fatal(n, err)
		}
		if i == 0 {
			<-r.begun // it is on its way, and cannot be taken back
		}
	}
	r.gate.Unlock()
	w.Close()
	got := strings.Split(strings.TrimSuffix(r.String(), "\n"), "\n")
	var lost, first int
	if _, err := fmt.Sscanf(strings.Join(got[1:3], " "), "lost %d line %d", &lost, &first); err != nil {
		t.Fatalf("%q: %v", got[:3], err)
	}
	if got[0] != "line 0" || lost == 0 || first != lost+1 || len(got) != count-lost+1 {
		t.Errorf("%q, and %d lines in all", got[:3], len(got))
	}
	for i, line := range got[2:] {
		if want := fmt.Sprintf("line %d", first+i); line != want {
			t.Fatalf("%s, want %s", line, want)
		}
	}
	if kept := len(r.String()); kept > 300<<10 || kept < 200<<10 {
		t.Errorf("%d bytes were kept", kept)
	}
}

// TestCloseStalled ends beside a reader that never reads.
func TestCloseStalled(t *testing.T) {
	r := newReader()
	w := spool.New(r)
	w.Detach()
	r.gate.Lock()
	for range 1000 {
		_, _ = w.Write([]byte("line\n"))
	}
	begin := time.Now()
	w.Close()
	if took := time.Since(begin); took > 5*time.Second { // a second, on a machine that may be busy
		t.Errorf("took %v", took)
	}
	if _, err := w.Write([]byte("late\n")); err == nil {
		t.Error("writes after Close")
	}
	r.gate.Unlock() // else the goroutine would stay, which ends with the program
}

// TestWaits is a Write before Detach: done when it returns, with the error of the write.
func TestWaits(t *testing.T) {
	r := newReader()
	w := spool.New(r)
	defer w.Close()
	for i := range 100 {
		_, _ = fmt.Fprintf(w, "%d\n", i)
		if !strings.HasSuffix(r.String(), fmt.Sprintf("%d\n", i)) {
			t.Fatalf("line %d is not written", i)
		}
	}
	r.failed = errors.New("full")
	if _, err := w.Write([]byte("x\n")); !errors.Is(err, r.failed) {
		t.Errorf("got %v", err)
	}
	r.failed = nil
	r.gate.Lock()
	done := make(chan error)
	go func() {
		_, err := w.Write([]byte("last\n"))
		done <- err
	}()
	<-r.begun
	select {
	case <-done:
		t.Error("does not wait")
	case <-time.After(50 * time.Millisecond):
	}
	w.Detach()
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.gate.Unlock()
}

// TestFailedWrites are lines that a full disk did not take: they are counted, and said when there is room.
func TestFailedWrites(t *testing.T) {
	r := newReader()
	w := spool.New(r)
	w.SetNotice(func(lines uint64) []byte { return fmt.Appendf(nil, "lost %d\n", lines) })
	w.Detach()
	r.mu.Lock()
	r.failed = errors.New("full")
	r.mu.Unlock()
	for range 3 {
		_, _ = w.Write([]byte("line\n"))
		<-r.begun
	}
	time.Sleep(10 * time.Millisecond) // the third is refused
	r.mu.Lock()
	r.failed = nil
	r.mu.Unlock()
	_, _ = w.Write([]byte("room\n"))
	w.Close()
	if got := r.String(); got != "lost 3\nroom\n" {
		t.Errorf("got %q", got)
	}
}
