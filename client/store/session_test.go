package store

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const home = "wss://server.example/ws"

func openSession(t *testing.T, path string) *Sessions {
	t.Helper()
	s, err := OpenSessions(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestSessionFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "session-tun0.json")
	s := openSession(t, path)
	if got := s.Load(home); got != (Session{}) {
		t.Errorf("a new file holds %+v", got)
	}
	for _, v := range []Session{
		{Session: "first", Address: netip.MustParseAddr("10.1.1.3")},
		{Session: strings.Repeat("longer", 10), Address: netip.MustParseAddr("10.100.100.101")},
		{Session: "x"}, // shorter again, and no address
	} {
		if err := s.Save(home, v); err != nil {
			t.Fatal(err)
		}
		s.Close()
		s = openSession(t, path)
		v.URL = home
		if got := s.Load(home); got != v {
			t.Errorf("loaded %+v; want %+v", got, v)
		}
		if got := s.Load("wss://other.example/ws"); got != (Session{}) {
			t.Errorf("another server gets %+v", got)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file with a secret is %v, %v", info, err)
	}
}

func TestSessionFileLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "session-tun0.json")
	s := openSession(t, path)
	if err := s.Save(home, Session{Session: "first"}); err != nil {
		t.Fatal(err)
	}
	if other, err := OpenSessions(path); !errors.Is(err, ErrInUse) || other != nil ||
		!strings.Contains(err.Error(), path) {
		t.Errorf("a second one: %v, %v", other, err)
	}
	time.AfterFunc(200*time.Millisecond, s.Close) // killed, but not gone yet
	if got := openSession(t, path).Load(home); got.Session != "first" {
		t.Errorf("after the first one: %+v", got)
	}
}

// Each server has a session of its own, of which the file keeps the last few.
func TestSessionFilePerServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "session-tun0.json")
	s := openSession(t, path)
	server := func(i int) string { return fmt.Sprintf("wss://s%d.example/ws", i) }
	for i := range 10 {
		if err := s.Save(server(i), Session{Session: fmt.Sprint("of ", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Save(server(5), Session{Session: "of 5 again"}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = openSession(t, path)
	for i := range 10 {
		want := fmt.Sprint("of ", i)
		switch {
		case i < 2:
			want = ""
		case i == 5:
			want += " again"
		}
		if got := s.Load(server(i)); got.Session != want {
			t.Errorf("session with server %d: %+v; want %q", i, got, want)
		}
	}
	if got := s.Load(""); got != (Session{}) {
		t.Errorf("the session with nobody is %+v", got)
	}
}

// What cannot be read is no session, and is replaced by the next one.
func TestSessionFileDamaged(t *testing.T) {
	for name, content := range map[string]string{
		"empty": "", "cut": `{"url":"wss://server.example/ws","session":"fir`,
		"zeros": "\x00\x00\x00\x00", "null": "null", "a list": "[]",
		"wrong type":  `{"url":"wss://server.example/ws","session":1}`,
		"bad address": `{"url":"wss://server.example/ws","session":"x","address":"10.1"}`,
		"trailing":    `{"url":"wss://server.example/ws","session":"x"}}`,
		"endless":     strings.Repeat(" ", 2<<20) + `{}`,
	} {
		path := filepath.Join(t.TempDir(), "session-tun0.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		s := openSession(t, path)
		if got := s.Load(home); got != (Session{}) {
			t.Errorf("%s: loaded %+v", name, got)
		}
		if err := s.Save(home, Session{Session: "new"}); err != nil {
			t.Error(err)
		}
		if got := s.Load(home); got.Session != "new" {
			t.Errorf("%s: then %+v", name, got)
		}
	}
}

func TestSessionFileFails(t *testing.T) {
	_, err := OpenSessions(filepath.Join(t.TempDir(), "none", "session"))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if _, err := OpenSessions(t.TempDir()); err == nil {
		t.Error("a directory is taken for a file")
	}
	s := openSession(t, filepath.Join(t.TempDir(), "session"))
	s.Close()
	if err := s.Save(home, Session{Session: "x"}); err == nil {
		t.Error("a closed file takes a session")
	}
	if got := s.Load(home); got != (Session{}) {
		t.Errorf("a closed file holds %+v", got)
	}
	var none *Sessions
	if got := none.Load(home); got != (Session{}) || none.Save(home, Session{Session: "x"}) != nil {
		t.Errorf("no file holds %+v", got)
	}
	none.Close()
}

// A save never leaves the file empty or half written: who has it open meanwhile sees what it was.
func TestSessionFileIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "session-tun0.json")
	s := openSession(t, path)
	if err := s.Save(home, Session{Session: strings.Repeat("first", 100)}); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	old, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = old.Close() }()
	if err := s.Save(home, Session{Session: "second"}); err != nil {
		t.Fatal(err)
	}
	if now, err := io.ReadAll(old); err != nil || string(now) != string(before) {
		t.Errorf("changed in place to %s, %v", now, err)
	}
	if _, err := OpenSessions(path); !errors.Is(err, ErrInUse) {
		t.Errorf("the lock is lost: %v", err)
	}
}

// TestMistypedURLs saves sessions for URLs that are never reached: the server's own stays.
func TestMistypedURLs(t *testing.T) {
	s := openSession(t, filepath.Join(t.TempDir(), "session-tun0.json"))
	save := func(url, address string) {
		t.Helper()
		v := Session{Session: url}
		if address != "" {
			v.Address = netip.MustParseAddr(address)
		}
		if err := s.Save(url, v); err != nil {
			t.Fatal(err)
		}
	}
	save(home, "10.1.1.3")
	for i := range 3 * maxOthers {
		save(fmt.Sprintf("wss://mistyped-%d.example/ws", i), "")
	}
	if got := s.Load(home); got.Session != home {
		t.Errorf("the server's session is %+v", got)
	}
	if got := len(s.all()); got != 1+maxOthers {
		t.Errorf("%d sessions are kept; want %d", got, 1+maxOthers)
	}
	for i := range maxOthers + 1 { // real ones are still bounded, and the oldest goes
		save(fmt.Sprintf("wss://real-%d.example/ws", i), "10.1.1.5")
	}
	if got := s.Load(home); got != (Session{}) || len(s.all()) != 1+maxOthers {
		t.Errorf("after %d more: %+v, %d sessions", maxOthers+1, got, len(s.all()))
	}
}
