package backup

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/admin/audit"
	"tunnel/auth"
	"tunnel/backup"
	"tunnel/cli/failure"
	"tunnel/cli/statedir"
	"tunnel/state"
)

// newState makes the state of a server in dir, with a token, and an entry that waits for the audit
// log.
func newState(t *testing.T, dir, token string) {
	t.Helper()
	file, err := state.Try(filepath.Join(dir, statedir.FileName))
	if err != nil {
		t.Fatal(err)
	}
	store, err := auth.Open(file.Bucket(statedir.BucketTokens))
	if err == nil {
		_, _, err = store.Create(auth.Spec{Name: token}, nil)
	}
	if err := errors.Join(err, audit.Keep(file.Bucket(statedir.BucketAudit),
		audit.Entry{Event: audit.TokenCreated, Token: token}), store.Close(), file.Close()); err != nil {
		t.Fatal(err)
	}
}

// readState returns the names of a state's tokens, and the events that wait for the audit log.
func readState(t *testing.T, dir string) (tokens, events string) {
	t.Helper()
	file, err := state.Try(filepath.Join(dir, statedir.FileName))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	store, err := auth.Open(file.Bucket(statedir.BucketTokens))
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range store.List() {
		tokens += token.Name + " "
	}
	if err := file.Bucket(statedir.BucketAudit).Each(func(_ string, value []byte) error {
		var e audit.Entry
		err := json.Unmarshal(value, &e)
		events += string(e.Event) + " " + e.Token + " "
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return tokens, events
}

// What a server that was broken into has put in place of its files neither stops a backup nor
// takes its memory, and is not in it.
func TestGatherHostile(t *testing.T) {
	for what, make := range map[string]func(dir string) error{
		"a link to a device": func(dir string) error {
			return os.Symlink("/dev/zero", filepath.Join(dir, "key.pem"))
		},
		"a FIFO": func(dir string) error { return unix.Mkfifo(filepath.Join(dir, "key.pem"), 0o600) },
		"a sparse file": func(dir string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, "key.pem"), nil, 0o600),
				os.Truncate(filepath.Join(dir, "key.pem"), 1<<40))
		},
		"a link in the place of the authority's files": func(dir string) error {
			return os.Symlink("/etc", filepath.Join(dir, statedir.ACMEDir))
		},
		"too many files": func(dir string) (err error) {
			err = os.Mkdir(filepath.Join(dir, statedir.ACMEDir), 0o700)
			for i := range maxACME + 1 {
				err = errors.Join(err, os.WriteFile(filepath.Join(dir, statedir.ACMEDir,
					strconv.Itoa(i)), nil, 0o600))
			}
			return err
		},
	} {
		dir := t.TempDir()
		newState(t, dir, "one")
		if err := make(dir); err != nil {
			t.Fatal(err)
		}
		ended := time.AfterFunc(time.Minute, func() { panic(what + ": the backup does not end") })
		files, err := gather(t.Context(), dir, audit.Actor{})
		ended.Stop()
		if step := failure.Of(err).Step; err == nil || step != failure.StepState {
			t.Errorf("%s: %d files, %v", what, len(files), err)
		}
	}
}

// gathered returns a backup of a server with a token of that name.
func gathered(t *testing.T, token string) backup.Files {
	t.Helper()
	dir := t.TempDir()
	newState(t, dir, token)
	if err := errors.Join(os.Mkdir(filepath.Join(dir, statedir.ACMEDir), 0o700),
		os.WriteFile(filepath.Join(dir, statedir.ACMEDir, "a"), []byte("new"), 0o600),
		os.WriteFile(filepath.Join(dir, statedir.ACMEDir, "b"), []byte("new"), 0o600),
		os.WriteFile(filepath.Join(dir, "key.pem"), []byte("new"), 0o600)); err != nil {
		t.Fatal(err)
	}
	files, err := gather(t.Context(), dir, audit.Actor{})
	if err != nil || len(files) != 4 || strings.Contains(string(files[stateName]), `"audit"`) {
		t.Fatalf("%d files, %v", len(files), err)
	}
	return files
}

// names returns all names below dir.
func names(t *testing.T, dir string) (all string) {
	t.Helper()
	if err := filepath.WalkDir(dir, func(name string, _ os.DirEntry, err error) error {
		all += strings.TrimPrefix(name, dir) + " "
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// A restore that cannot be completed where no server was leaves nothing, and can be done again.
func TestRestoreHalfWay(t *testing.T) {
	files, dir := gathered(t, "one"), t.TempDir()
	// b cannot be put in place; a is before.
	obstacle := filepath.Join(dir, statedir.ACMEDir, "b")
	if err := os.MkdirAll(filepath.Join(obstacle, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	before := names(t, dir)
	if err := put(dir, files, false, audit.Actor{}); err == nil || !strings.Contains(err.Error(),
		"nothing was restored") {
		t.Errorf("with an obstacle: %v", err)
	}
	if now := names(t, dir); now != before {
		t.Errorf("there is %s; was %s", now, before)
	}
	if err := os.RemoveAll(obstacle); err != nil {
		t.Fatal(err)
	}
	if err := put(dir, files, false, audit.Actor{}); err != nil {
		t.Errorf("again: %v", err)
	}
	if tokens, _ := readState(t, dir); tokens != "one " {
		t.Errorf("restored %s", tokens)
	}
}

// Over a newer state, one that is stopped half-way says that it is, and is completed by the next.
func TestRestoreOver(t *testing.T) {
	files, dir := gathered(t, "one"), t.TempDir()
	newState(t, dir, "two")
	uid := uint32(4321)
	by := audit.Actor{UID: &uid}
	if err := put(dir, files, false, by); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("without --force: %v", err)
	}
	obstacle := filepath.Join(dir, "key.pem")
	if err := os.MkdirAll(filepath.Join(obstacle, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := put(dir, files, true, by); err == nil || !strings.Contains(err.Error(),
		"some files are restored and others not") {
		t.Errorf("with an obstacle: %v", err)
	}
	if tokens, _ := readState(t, dir); tokens != "two " {
		t.Errorf("half-way: %s", tokens)
	}
	if err := os.RemoveAll(obstacle); err != nil {
		t.Fatal(err)
	}
	if err := put(dir, files, true, by); err != nil {
		t.Error(err)
	}
	// What waited for the audit log waits still.
	if tokens, events := readState(t, dir); tokens != "one " ||
		events != "token_created two state_restored  " {
		t.Errorf("restored %s, %s", tokens, events)
	}
	if now := names(t, dir); strings.Contains(now, ".new") {
		t.Errorf("left are %s", now)
	}
}

// A server that runs is said before what is there, and --force does not help.
func TestRestoreRunning(t *testing.T) {
	files, dir := gathered(t, "one"), t.TempDir()
	file, err := state.Try(filepath.Join(dir, statedir.FileName))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for _, force := range []bool{false, true} {
		if err := put(dir, files, force, audit.Actor{}); err == nil || !strings.Contains(err.Error(),
			"a server runs on") {
			t.Errorf("force %v: %v", force, err)
		}
	}
}
