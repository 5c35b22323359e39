package auth

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"

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

func (s *slow) underWay() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// While the disk takes its time, logins and whatever else needs no write go on, and all that need one are
// under way at once, so that they can share it.
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
	synctest.Test(t, func(t *testing.T) {
		disk := &slow{Bucket: file.Bucket("token"), gate: make(chan struct{})}
		s, err := Open(disk)
		if err != nil {
			t.Fatal(err)
		}
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
		synctest.Wait()
		if now := disk.underWay(); now != n {
			t.Errorf("%d of %d joins are being written", now, n)
		}
		login := make(chan error, 1)
		group.Go(func() {
			g, err := s.Admit(with("Bearer " + laptop))
			login <- errors.Join(err, s.Check(g.ID))
		})
		synctest.Wait()
		select {
		case err := <-login:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("a login waits for the disk")
		}
		close(disk.gate)
		group.Wait()
		for i := range n {
			admit(t, s, credentials[i])
		}
	})
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
	laptop, join := create(t, s, Spec{Name: "laptop"}), create(t, s, Spec{Name: "phone", Once: true})
	synctest.Test(t, func(t *testing.T) {
		disk := &slow{Bucket: file.Bucket("token"), gate: make(chan struct{})}
		s, err := Open(disk)
		if err != nil {
			t.Fatal(err)
		}
		admit(t, s, laptop)
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := s.Join(admit(t, s, join), "session"); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		group.Go(func() { // takes along that the laptop was used
			if _, err := s.Revoke("phone"); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if now := disk.underWay(); now != 1 {
			t.Errorf("%d writes are under way: the order of the two is open", now)
		}
		close(disk.gate)
		group.Wait()
		admit(t, s, laptop)
		refused(t, s, join, ErrWrong)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	s, err = Open(file.Bucket("token"))
	if err != nil {
		t.Fatal(err)
	}
	admit(t, s, laptop)
	refused(t, s, join, ErrWrong)
}
