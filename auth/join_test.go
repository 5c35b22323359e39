package auth

import (
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tunnel/state"
)

func TestExpires(t *testing.T) {
	s := newStore(t)
	spec := Spec{Name: "short", Address: netip.MustParseAddr("10.1.1.9"),
		Expires: time.Now().Add(3 * time.Second)}
	text := create(t, s, spec)
	g := admit(t, s, text)
	if err := s.Check(g.ID); err != nil {
		t.Errorf("at first: %v", err)
	}
	time.Sleep(time.Until(spec.Expires) + time.Millisecond)
	refused(t, s, text, ErrExpired)
	if err := s.Check(g.ID); !errors.Is(err, ErrExpired) {
		t.Errorf("then: %v", err)
	}
	if len(s.Reserved()) != 0 {
		t.Error("its address is reserved for ever")
	}
	// Name and address are free, and the new token is another one.
	spec.Expires = time.Time{}
	again := create(t, s, spec)
	refused(t, s, text, ErrWrong)
	if now := admit(t, s, again); now.ID == g.ID || !errors.Is(s.Check(g.ID), ErrRevoked) ||
		len(s.List()) != 1 {
		t.Errorf("%+v became %+v", g, now)
	}
}

// Of many who come with a join token at once one gets in; it may ask again until it has come with
// the credential, and then the join token opens nothing.
func TestJoin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s, shut := reopen(t, path)
	join := create(t, s, Spec{Name: "phone", Once: true, Expires: time.Now().Add(time.Second)})
	var won, lost atomic.Int32
	var mu sync.Mutex
	winner, credential := "", ""
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			session := NewSecret()
			g, err := s.Admit(with("Bearer " + join))
			if err != nil {
				t.Error(err)
			}
			c, err := s.Join(g, session)
			switch {
			case errors.Is(err, ErrJoined):
				lost.Add(1)
			case err != nil:
				t.Error(err)
			default:
				mu.Lock()
				winner, credential = session, c
				mu.Unlock()
				won.Add(1)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 || lost.Load() != 19 || ID(credential) != ID(join) || credential == join {
		t.Fatalf("%d got in, %d did not; credential %q", won.Load(), lost.Load(), credential)
	}
	// It crashes before it has stored the credential, and the server restarts; meanwhile the join
	// token would have expired.
	time.Sleep(time.Until(s.List()[0].Created.Add(1100 * time.Millisecond)))
	shut()
	s, shut = reopen(t, path)
	if again, err := s.Join(admit(t, s, join), winner); err != nil || again != credential {
		t.Errorf("again: %q, %v; want %q", again, err, credential)
	}
	if _, err := s.Join(admit(t, s, join), "somebody else"); !errors.Is(err, ErrJoined) {
		t.Errorf("somebody else: %v", err)
	}
	g := admit(t, s, join)
	first := admit(t, s, credential)
	if first.Kind != KindCredential || !first.Sole() || first.Name != "phone" || first.ID != g.ID ||
		!first.Expires.IsZero() {
		t.Errorf("granted %+v", first)
	}
	if c, err := s.Join(first, winner); c != "" || err != nil {
		t.Errorf("a credential is exchanged for %q, %v", c, err)
	}
	if _, err := s.Join(g, winner); !errors.Is(err, ErrJoined) {
		t.Errorf("a connection that was let in before: %v", err)
	}
	refused(t, s, join, ErrJoined)
	shut()
	s, _ = reopen(t, path)
	refused(t, s, join, ErrJoined)
	admit(t, s, credential)
	if _, err := s.Revoke("phone"); err != nil {
		t.Error(err)
	}
	refused(t, s, credential, ErrRevoked)
	refused(t, s, join, ErrRevoked)
	if _, err := s.Join(g, winner); !errors.Is(err, ErrRevoked) {
		t.Errorf("after the end: %v", err)
	}
}

func FuzzAdmit(f *testing.F) {
	path := filepath.Join(f.TempDir(), "db")
	file, err := state.Open(path)
	if err != nil {
		f.Fatal(err)
	}
	s, err := Open(file.Bucket("token"))
	if err != nil {
		f.Fatal(err)
	}
	s.SetFlag("correct-horse-battery")
	_, text, err := s.Create(Spec{Name: "a"}, nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"Bearer " + text, text, "Bearer tnl_" + ID(text) + "_",
		"Bearer correct-horse-battery", "Bearer \x00", "", " ", "Bearer tnl__________________"} {
		f.Add(seed, "")
		f.Add("", seed)
		f.Add("Basic dXNlcjpwYXNz", seed)
		f.Add("Bearer "+text, seed)
	}
	f.Fuzz(func(t *testing.T, header, own string) {
		r := with(header)
		if own != "" {
			r.Header.Set(TokenHeader, own)
			header = own
		}
		g, err := s.Admit(r)
		scheme, rest, _ := strings.Cut(header, " ")
		given := strings.TrimSpace(rest)
		right := strings.EqualFold(scheme, "Bearer") &&
			(given == text || given == "correct-horse-battery")
		if (err == nil) != right || (g.Name != "") != right {
			t.Errorf("%q: %+v, %v", header, g, err)
		}
	})
}
