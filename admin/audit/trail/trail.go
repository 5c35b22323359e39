// Package trail writes the entries of an audit log: to a file, which it rotates by its size and
// which others may rotate, or to the journal of systemd. It is for the process that keeps the
// privileges: the one that parses the network can add entries, and change none.
package trail

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/user"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tunnel/admin/audit"
)

// ToJournal is the name that stands for the journal of systemd, and not for a file.
const ToJournal = "journald"

// A writer writes entries, each of which has its JSON.
type writer interface {
	// write returns how many of the lines were written, and why not all were.
	write(lines []line) (written int, err error)
	close() error
}

// line is an entry with its JSON.
type line struct {
	audit.Entry
	json []byte // without a newline
}

// Bytes that may be written at once, and then in a second: a process that was broken into must not
// fill the disk, nor push everything out of the files that are kept at once.
const (
	maxBytes  = 4 << 20
	byteRate  = 64 << 10
	maxCached = 1024 // names of users
)

// errTooFast means that there is no room in maxBytes.
var errTooFast = errors.New("more than 64 KiB of entries in a second")

// warnPause is the time between two lines of the log that say that the audit log cannot be written.
const warnPause = time.Minute

// A Trail writes entries. Its methods may be called concurrently.
type Trail struct {
	log  *slog.Logger
	name string

	mu    sync.Mutex
	to    writer            // guarded by mu, as all below
	users map[uint32]string // by their IDs; "" has no name
	bytes *rate.Limiter     // of lines
	lost  uint64            // entries that were not written since the last that was
	why   error             // of the last of them
	warn  rate.Sometimes
	// limits lines about rotations that fail
	unrotated rate.Sometimes
}

// Open returns the Trail to a file, or to the journal if name is ToJournal. A file is rotated when
// it would get larger than size bytes; 0 is never. log has what could not be written. The caller
// closes it. A file that cannot be opened because its disk is full or broken is not an error: it is
// tried again with each entry.
func Open(name string, size int64, log *slog.Logger) (*Trail, error) {
	t := &Trail{log: log, name: name, users: map[uint32]string{},
		bytes: rate.NewLimiter(byteRate, maxBytes),
		warn:  rate.Sometimes{Interval: warnPause}, unrotated: rate.Sometimes{Interval: warnPause}}
	var err error
	if name == ToJournal {
		t.to, err = openJournal(journalSocket)
	} else {
		t.to, err = openFile(name, size, func(why error) {
			t.unrotated.Do(func() {
				log.Warn("the audit log grows above its size: it cannot be rotated", "audit_log", name,
					"err", why)
			})
		})
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// Write writes entries. What cannot be written is lost: the log says so, and the first entry that
// is written afterwards says how many. The error is that an entry has not its form, and none was
// written.
func (t *Trail) Write(entries []audit.Entry) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines []line
	if t.lost > 0 {
		e := audit.Entry{Time: time.Now().UTC(), Event: audit.EntriesLost, Lost: t.lost,
			Reason: t.why.Error()}
		if len(entries) > 0 {
			e.Dev = entries[0].Dev
		}
		lines = append(lines, line{Entry: e})
	}
	said, saidLost := len(lines), t.lost
	for _, e := range entries {
		e.User, e.LoginUser = "", "" // it is this process that knows
		if err := e.Check(); err != nil {
			return err
		}
		if !t.bytes.AllowN(time.Now(), e.Tidy()) {
			t.lose(1, errTooFast)
			continue
		}
		if e.UID != nil {
			e.User = t.user(*e.UID)
		}
		if e.Login != nil {
			e.LoginUser = t.user(*e.Login)
		}
		lines = append(lines, line{Entry: e})
	}
	for i := range lines {
		var err error
		if lines[i].json, err = json.Marshal(lines[i].Entry); err != nil {
			return err
		}
	}
	written, err := t.to.write(lines)
	if said > 0 && written > 0 {
		t.log.Info("the audit log is written again", "audit_log", t.name, "entries_lost", saidLost)
		t.lost -= saidLost
	}
	if err != nil {
		t.lose(uint64(len(lines)-max(written, said)), err)
	}
	return nil
}

// Lose counts entries that are not written, and says why with the next that is.
func (t *Trail) Lose(entries uint64, why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lose(entries, why)
}

// lose is Lose for a caller that holds mu.
func (t *Trail) lose(entries uint64, why error) {
	t.lost += entries
	t.why = why
	t.warn.Do(func() {
		t.log.Warn("the audit log cannot be written: its entries are lost until it can",
			"audit_log", t.name, "entries_lost", t.lost, "err", why)
	})
}

// user returns the name of a user, "" if this machine has none.
func (t *Trail) user(id uint32) string {
	name, known := t.users[id]
	if known {
		return name
	}
	if u, err := user.LookupId(strconv.FormatUint(uint64(id), 10)); err == nil {
		name = u.Username
	}
	if len(t.users) >= maxCached {
		clear(t.users)
	}
	t.users[id] = name
	return name
}

// Close closes what is written to. If entries are still lost, the log says how many.
func (t *Trail) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost > 0 {
		t.log.Warn("entries of the audit log are lost", "audit_log", t.name, "entries_lost", t.lost,
			"err", t.why)
	}
	if err := t.to.close(); err != nil {
		return fmt.Errorf("close the audit log: %w", err)
	}
	return nil
}
