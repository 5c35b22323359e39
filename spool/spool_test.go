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
	pause  time.Duration // before each
}

func newReader() *reader { return &reader{begun: make(chan struct{}, 1)} }

func (r *reader) Write(b []byte) (int, error) {
	select {
	case r.begun <- struct{}{}:
	default:
	}
	r.gate.Lock()
	defer r.gate.Unlock()
	time.Sleep(r.pause)
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

// TestStalled writes without end to a reader that has stopped: nothing waits, what is kept is
// bounded in bytes and in lines, and the reader gets the newest, in order, and in one line how many
// are missing.
func TestStalled(t *testing.T) {
	for _, padding := range []int{0, 100, 9000} {
		r := newReader()
		w := spool.New(r)
		w.SetNotice(func(lines uint64, _ error) []byte {
			return fmt.Appendf(nil, "lost %d\n", lines)
		})
		w.Detach()
		r.gate.Lock()
		const count = 20000
		for i := range count {
			if n, err := fmt.Fprintf(w, "line %d %*d\n", i, padding, 0); err != nil || n == 0 {
				t.Fatal(n, err)
			}
			if i == 0 {
				<-r.begun // it is on its way, and cannot be taken back
			}
		}
		r.gate.Unlock()
		w.Close(time.Now().Add(time.Minute))
		got := strings.Split(strings.TrimSuffix(r.String(), "\n"), "\n")
		var lost, first, zero int
		if _, err := fmt.Sscanf(strings.Join(got[1:3], " "), "lost %d line %d %d", &lost, &first,
			&zero); err != nil {
			t.Fatalf("%.100q: %v", got[:3], err)
		}
		if !strings.HasPrefix(got[0], "line 0 ") || lost == 0 || first != lost+1 ||
			len(got) != count-lost+1 {
			t.Errorf("%.100q, and %d lines in all", got[:3], len(got))
		}
		for i, line := range got[2:] {
			if want := fmt.Sprintf("line %d ", first+i); !strings.HasPrefix(line, want) {
				t.Fatalf("%.100s, want %s", line, want)
			}
		}
		kept := len(r.String())
		if kept > 300<<10 || len(got) > 5000 || kept < 200<<10 && len(got) < 4000 {
			t.Errorf("%d bytes in %d lines were kept", kept, len(got))
		}
	}
}

// fates collects what an Observer is told.
type fates struct {
	mu  sync.Mutex
	all map[string]error // guarded by mu; by the text
}

func (f *fates) observe(text []byte, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = map[string]error{}
	}
	f.all[string(text)] = err
}

// TestCloseStalled ends beside a reader that never reads: it does not wait until the limit, and
// what is lost is told once.
func TestCloseStalled(t *testing.T) {
	r := newReader()
	w := spool.New(r)
	var f fates
	w.Observe(f.observe)
	w.Detach()
	r.gate.Lock()
	for i := range 1000 {
		_, _ = fmt.Fprintf(w, "line %d\n", i)
	}
	<-r.begun
	begin := time.Now()
	w.Close(time.Now().Add(time.Hour))
	if took := time.Since(begin); took > 30*time.Second { // 0.3 s, on a machine that may be busy
		t.Errorf("took %v", took)
	}
	f.mu.Lock()
	if len(f.all) != 1000 || !errors.Is(f.all["line 0\n"], spool.ErrUnread) ||
		!errors.Is(f.all["line 999\n"], spool.ErrUnread) {
		t.Errorf("told of %d lines: %v, %v", len(f.all), f.all["line 0\n"], f.all["line 999\n"])
	}
	f.all = nil
	f.mu.Unlock()
	if _, err := w.Write([]byte("late\n")); !errors.Is(err, spool.ErrClosed) {
		t.Errorf("got %v", err)
	}
	r.gate.Unlock() // else the goroutine would stay, which ends with the program
	eventually(t, "the first is written",
		func() bool { return strings.HasPrefix(r.String(), "line 0\n") })
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.all) != 0 {
		t.Errorf("told again: %v", f.all)
	}
}

// TestCloseSlow ends beside a reader that takes a line now and then: at the limit.
func TestCloseSlow(t *testing.T) {
	r := newReader()
	r.pause = 20 * time.Millisecond
	w := spool.New(r)
	w.Detach()
	for range 4000 {
		_, _ = w.Write([]byte("line\n"))
	}
	begin := time.Now()
	w.Close(begin.Add(100 * time.Millisecond))
	if took := time.Since(begin); took < 100*time.Millisecond || took > 30*time.Second {
		t.Errorf("took %v", took)
	}
}

// eventually waits until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// TestWaits is a Write before Detach: done when it returns, with the error of the write.
func TestWaits(t *testing.T) {
	r := newReader()
	w := spool.New(r)
	defer w.Close(time.Now().Add(time.Second))
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
	case err := <-done:
		t.Error("does not wait", err)
	case <-time.After(50 * time.Millisecond):
	}
	w.Detach()
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.gate.Unlock()
}

// TestFailedWrites are lines that a full disk did not take: they are counted, and said, with the
// reason, when there is room.
func TestFailedWrites(t *testing.T) {
	r := newReader()
	w := spool.New(r)
	var f fates
	w.Observe(f.observe)
	w.Detach()
	r.mu.Lock()
	r.failed = errors.New("full")
	r.mu.Unlock()
	for i := range 3 {
		_, _ = fmt.Fprintf(w, "line %d\n", i)
	}
	eventually(t, "all are refused", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.all) == 3
	})
	r.mu.Lock()
	r.failed = nil
	r.mu.Unlock()
	_, _ = w.Write([]byte("room\n"))
	w.Close(time.Now().Add(time.Minute))
	if got := r.String(); got != "dropped 3 lines: full\nroom\n" {
		t.Errorf("got %q", got)
	}
	if f.all["line 2\n"] == nil || f.all["room\n"] != nil {
		t.Errorf("told %v", f.all)
	}
}

// TestObserveLate has an observer told of a text that waits for its reader, and again when it is
// written.
func TestObserveLate(t *testing.T) {
	r := newReader()
	w := spool.New(r)
	var f fates
	w.Observe(f.observe)
	w.Detach()
	r.gate.Lock()
	_, _ = w.Write([]byte("first\n"))          // is being written
	_, _ = w.Relay().Write([]byte("second\n")) // is in the queue, and another process's
	told := func(want error) func() bool {
		return func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return len(f.all) == 2 && errors.Is(f.all["first\n"], want) &&
				errors.Is(f.all["second\n"], want)
		}
	}
	eventually(t, "both are late", told(spool.ErrLate))
	r.gate.Unlock()
	eventually(t, "both are written", told(nil))
	w.Close(time.Now().Add(time.Hour))
}
