package auth

import (
	"errors"
	"net/http"
	"path/filepath"
	"sync"
	"testing"

	"tunnel/state"
)

// reopen opens the Store of a file, and a function that closes both.
func reopen(t *testing.T, path string) (*Store, func()) {
	t.Helper()
	file, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(file.Bucket("token"))
	if err != nil {
		t.Fatal(err)
	}
	shut := sync.OnceFunc(func() {
		if err := errors.Join(s.Close(), file.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(shut)
	return s, shut
}

func newStore(t *testing.T) *Store {
	s, _ := reopen(t, filepath.Join(t.TempDir(), "db"))
	return s
}

func create(t *testing.T, s *Store, spec Spec) string {
	t.Helper()
	_, text, err := s.Create(spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// with returns a request that has a header Authorization.
func with(header string) *http.Request {
	return &http.Request{Header: http.Header{"Authorization": {header}}}
}

func admit(t *testing.T, s *Store, text string) Grant {
	t.Helper()
	g, err := s.Admit(with("Bearer " + text))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func refused(t *testing.T, s *Store, text string, want error) {
	t.Helper()
	if g, err := s.Admit(with("Bearer " + text)); !errors.Is(err, want) || g.ID != "" ||
		g.Name != "" {
		t.Errorf("%s: %+v, %v; want %v", text, g, err, want)
	}
}
