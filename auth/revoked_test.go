package auth

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"tunnel/state"
)

// TestRevokedIsTold has tokens that are over: the secret gets the reason, also after a restart and
// when there is another token of that name; another secret with the same id gets none.
func TestRevokedIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s, shut := reopen(t, path)
	laptop, phone, used := create(t, s, Spec{Name: "laptop"}), create(t, s,
		Spec{Name: "phone", Once: true}), create(t, s, Spec{Name: "used", Once: true})
	credentials := map[string]string{}
	for _, join := range []string{phone, used} {
		credential, err := s.Join(admit(t, s, join), "session")
		if err != nil {
			t.Fatal(err)
		}
		credentials[join] = credential
	}
	admit(t, s, credentials[used]) // which settles it
	for _, name := range []string{"laptop", "phone"} {
		if _, err := s.Revoke(name); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Revoke(name); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s, twice: %v", name, err)
		}
	}
	again := create(t, s, Spec{Name: "laptop"})
	for range 2 {
		refused(t, s, laptop, ErrRevoked)
		refused(t, s, phone, ErrRevoked)
		refused(t, s, credentials[phone], ErrRevoked)
		refused(t, s, used, ErrJoined)
		for _, text := range []string{laptop, phone, used} {
			if text[len(text)-1] == 'a' {
				text = text[:len(text)-1] + "b"
			} else {
				text = text[:len(text)-1] + "a"
			}
			refused(t, s, text, ErrWrong)
		}
		admit(t, s, again)
		if all := s.List(); len(all) != 2 || all[0].Name != "laptop" || all[1].Name != "used" {
			t.Errorf("listed %+v", all)
		}
		shut()
		s, shut = reopen(t, path)
	}
}

// TestRevokedAreForgotten bounds how many revoked tokens are remembered: the oldest goes first.
func TestRevokedAreForgotten(t *testing.T) {
	disk := &memory{}
	s, err := Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for i := range maxRevoked + 2 {
		name := fmt.Sprint("n", i)
		texts = append(texts, create(t, s, Spec{Name: name}))
		if _, err := s.Revoke(name); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range map[int]error{0: ErrWrong, 1: ErrWrong, 2: ErrRevoked,
		maxRevoked + 1: ErrRevoked} {
		refused(t, s, texts[i], want)
	}
	if len(disk.kept) != maxRevoked || len(s.tokens) != maxRevoked {
		t.Errorf("keeps %d, %d in memory", len(disk.kept), len(s.tokens))
	}
}

// TestRevokeOnFullDisk has no room for what is left of a token: it is revoked all the same.
func TestRevokeOnFullDisk(t *testing.T) {
	disk := &memory{}
	s, err := Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	text := create(t, s, Spec{Name: "laptop"})
	disk.full = true
	if _, err := s.Revoke("laptop"); err != nil || len(disk.kept) != 0 {
		t.Errorf("%v; keeps %d", err, len(disk.kept))
	}
	refused(t, s, text, ErrWrong)
}

// TestRevokedForOlder has an older version read what is left of a revoked token: to it the token
// has expired.
func TestRevokedForOlder(t *testing.T) {
	s := newStore(t)
	text := create(t, s, Spec{Name: "laptop"})
	if _, err := s.Revoke("laptop"); err != nil {
		t.Fatal(err)
	}
	if e := s.tokens[ID(text)]; !e.Expired(time.Now()) {
		t.Errorf("left %+v", e)
	}
}

// memory is a Bucket that is not kept.
type memory struct {
	kept map[string][]byte
	full bool
}

func (m *memory) Exists() (bool, error) { return m.kept != nil, nil }

func (m *memory) Each(f func(string, []byte) error) error {
	for k, v := range m.kept {
		if err := f(k, v); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Write(put map[string][]byte, remove ...string) error {
	if m.full && len(put) > 0 {
		return state.ErrFull
	}
	if m.kept == nil {
		m.kept = map[string][]byte{}
	}
	for _, k := range remove {
		delete(m.kept, k)
	}
	for k, v := range put {
		m.kept[k] = v
	}
	return nil
}
