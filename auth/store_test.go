package auth

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"tunnel/state"
)

// slow is a bucket whose writes wait until the test lets them through.
type slow struct {
	state.Bucket
	mu   sync.Mutex
	now  int // writes under way
	gate chan struct{}
}

func (s *slow) Write(put map[string][]byte, remove ...string) error {
	s.mu.Lock()
	s.now++
	s.mu.Unlock()
	<-s.gate
	return s.Bucket.Write(put, remove...)
}

// underWay returns how many writes have begun, when there are n, or after a while.
func (s *slow) underWay(n int) (now int) {
	for late := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		now = s.now
		s.mu.Unlock()
		if now == n || time.Now().After(late) {
			return now
		}
	}
}

const patience = 5 * time.Second

// onSlow returns the file's tokens, on a disk whose writes wait for the gate.
func onSlow(t *testing.T, file *state.File) (*Store, *slow) {
	t.Helper()
	disk := &slow{Bucket: file.Bucket("token"), gate: make(chan struct{})}
	s, err := Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	return s, disk
}

// While the disk takes its time, logins and whatever else needs no write go on, and all that need
// one are under way at once, so that they can share it.
func TestLoginsDoNotWaitForTheDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	file, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	s, err := Open(file.Bucket("token"))
	if err != nil {
		t.Fatal(err)
	}
	const n = 20
	var joins, credentials [n]string
	for i := range n {
		joins[i] = create(t, s, Spec{Name: fmt.Sprint("join", i), Once: true})
	}
	laptop := create(t, s, Spec{Name: "laptop"})
	s, disk := onSlow(t, file)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			g, err := s.Admit(with("Bearer " + joins[i]))
			if err == nil {
				credentials[i], err = s.Join(g, fmt.Sprint("session ", i))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	if now := disk.underWay(n); now != n {
		t.Errorf("%d of %d joins are being written", now, n)
	}
	login := make(chan error, 1)
	group.Go(func() {
		g, err := s.Admit(with("Bearer " + laptop))
		login <- errors.Join(err, s.Check(g.ID))
	})
	select {
	case err := <-login:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("a login waits for the disk")
	}
	close(disk.gate)
	group.Wait()
	for _, credential := range credentials {
		admit(t, s, credential)
	}
}

// A token that is revoked while its first client joins stays revoked, in memory and in the file.
func TestRevokedWhileItJoins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	file, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	s, err := Open(file.Bucket("token"))
	if err != nil {
		t.Fatal(err)
	}
	laptop, join := create(t, s, Spec{Name: "laptop"}), create(t, s,
		Spec{Name: "phone", Once: true})
	s, disk := onSlow(t, file)
	admit(t, s, laptop)
	var group sync.WaitGroup
	group.Go(func() {
		if _, err := s.Join(admit(t, s, join), "session"); err != nil {
			t.Error(err)
		}
	})
	disk.underWay(1)
	group.Go(func() {
		if _, err := s.Revoke("phone"); err != nil {
			t.Error(err)
		}
	})
	time.Sleep(50 * time.Millisecond) // for one that does not wait to begin
	if now := disk.underWay(1); now != 1 {
		t.Errorf("%d writes are under way: the order of the two is open", now)
	}
	close(disk.gate)
	group.Wait()
	admit(t, s, laptop)
	refused(t, s, join, ErrRevoked)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s, err = Open(file.Bucket("token"))
	if err != nil {
		t.Fatal(err)
	}
	admit(t, s, laptop)
	refused(t, s, join, ErrRevoked)
}
