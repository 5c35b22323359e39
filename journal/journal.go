// Package journal notes what a run changes on this machine before it makes the change, so that
// after a SIGKILL the next run, or Cleanup, can undo it. It knows facts (fact.go), not what they
// are about: the packages that change the machine have the kinds of facts, and package host has the
// list of them.
package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"tunnel/atomicfile"
	"tunnel/rtnl"
)

// Journal is the file in which a run notes its facts. It is named <boot>-<namespace>-<dev>.json and
// holds a header line and one line for each fact. While the run lives it holds a lock on the file.
//
// The file is replaced as a whole with every change. Nothing is synced to disk, because what it
// describes does not outlive the machine's memory either.
//
// A nil *Journal notes nothing, as a dry run needs it. A Journal is safe for concurrent use.
type Journal struct {
	dev   string
	path  string
	rules Rules

	mu       sync.Mutex
	file     *atomicfile.Locked // guarded by mu, as all below; nil once closed
	facts    []Fact             // oldest first
	written  []Fact             // in the file: more than facts if there was no room to write less
	leftover bool               // facts are a killed run's and not healed
}

// header is the first line of a journal.
type header struct {
	Tunnel string `json:"tunnel"` // the device, for people
	PID    int    `json:"pid"`    // of the run that holds the lock
}

// ErrBusy says that another live run has this device in this network namespace.
var ErrBusy = errors.New("in use by another run of tunnel")

// ErrForeign says that a journal is another user's, so that it must not tell this process what to
// undo.
var ErrForeign = errors.New("not owned by this user")

// BusyError is an ErrBusy with its holder.
type BusyError struct {
	Dev string
	PID int // 0 if not known
}

func (e *BusyError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("device %s is %v", e.Dev, ErrBusy)
	}
	return fmt.Sprintf("device %s is %v (pid %d)", e.Dev, ErrBusy, e.PID)
}

// Unwrap returns ErrBusy.
func (e *BusyError) Unwrap() error { return ErrBusy }

// Open opens and locks the journal of the device dev in the calling thread's network namespace, in
// the directory dir (see Dir); kinds are the facts that it reads. If a live run holds it the error
// is a *BusyError, else an *Error. If a killed run left it, Heal must be called before anything is
// noted. The caller closes the Journal, directly or by host.Host.Close.
func Open(dir, dev string, kinds Kinds) (*Journal, error) {
	if err := rtnl.CheckName(dev); err != nil {
		return nil, explain(dir, err)
	}
	key, err := currentKey()
	if err != nil {
		return nil, explain(dir, err)
	}
	return open(filepath.Join(dir, key.file(dev)), RulesFor(dev), kinds, os.O_CREATE)
}

// open opens the journal at path; flag is os.O_CREATE or 0.
func open(path string, rules Rules, kinds Kinds, flag int) (*Journal, error) {
	file, err := lock(path, rules.Dev, flag)
	if err != nil {
		return nil, explain(filepath.Dir(path), err)
	}
	j := &Journal{dev: rules.Dev, path: path, rules: rules, file: file}
	content, err := file.Read(maxJournal)
	if err == nil {
		j.facts = parse(content, kinds, rules)
		j.written, j.leftover = j.facts, len(j.facts) > 0
		err = j.write(j.facts) // our pid, and none of the damage
		switch {
		case err == nil:
		case j.leftover && isFull(err):
			err = nil // healing makes room
		case !j.leftover:
			err = errors.Join(err, os.Remove(path)) // nothing is in it
		}
	}
	if err != nil {
		err = fmt.Errorf("open journal %s: %w", path, err)
		return nil, explain(filepath.Dir(path), errors.Join(err, j.file.Close()))
	}
	return j, nil
}

// maxJournal bounds what is read of a journal, in bytes: thousands of facts.
const maxJournal = 1 << 20

// lock opens and locks the file at path, and refuses one that another user may have placed there.
func lock(path, dev string, flag int) (*atomicfile.Locked, error) {
	file, err := atomicfile.Lock(path, flag, 0)
	switch {
	case errors.Is(err, atomicfile.ErrLocked):
		return nil, &BusyError{Dev: dev, PID: holder(path)}
	case errors.Is(err, unix.ELOOP):
		return nil, fmt.Errorf("journal %s is a symbolic link: %w", path, ErrForeign)
	case errors.Is(err, atomicfile.ErrNotRegular):
		return nil, fmt.Errorf("journal %s is not a file: %w", path, ErrForeign)
	case err != nil:
		return nil, fmt.Errorf("open journal: %w", err)
	}
	info, err := file.Stat()
	// With more than one link it is a file of ours, but not a journal, that another user has placed
	// under this name.
	if err == nil && (info.Nlink != 1 || !trusted(info.Uid)) {
		err = fmt.Errorf(
			"journal %s: %w (uid %d): that user can run `tunnel cleanup`, or delete the file",
			path, ErrForeign, info.Uid)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// holder returns the process that a journal's header names, 0 if it cannot be read.
func holder(path string) int {
	content, err := atomicfile.Read(path)
	if err != nil {
		return 0
	}
	var head header
	first, _, _ := bytes.Cut(content, []byte("\n"))
	_ = json.Unmarshal(first, &head) // a header that cannot be read has no pid
	return head.PID
}

// parse reads a journal and keeps every line that is a fact which it may have undone: a damaged
// line must not cost the others.
func parse(content []byte, kinds Kinds, rules Rules) []Fact {
	var facts []Fact
	for line := range bytes.Lines(content) {
		f, err := kinds.decode(line)
		if err == nil && rules.allows(f) == nil && !slices.Contains(facts, f) {
			facts = append(facts, f)
		}
	}
	return facts
}

// write replaces the file's content and keeps the lock. The caller holds mu, or owns j alone.
func (j *Journal) write(facts []Fact) error {
	var content bytes.Buffer
	if err := json.NewEncoder(&content).Encode(header{Tunnel: j.dev,
		PID: os.Getpid()}); err != nil {
		return err
	}
	for _, f := range facts {
		line, err := encode(f)
		if err != nil {
			return err
		}
		content.Write(line)
	}
	if err := j.file.Replace(content.Bytes(), false); err != nil {
		return err
	}
	j.facts = slices.Clone(facts)
	j.written = j.facts
	return nil
}

// shrink is write for facts of which the file has more. Without room it keeps these: a next run
// looks for them, and finds that they are gone.
func (j *Journal) shrink(facts []Fact) error {
	err := j.write(facts)
	if isFull(err) {
		j.facts, err = slices.Clone(facts), nil
	}
	return err
}

// Note adds facts before the changes that they describe are made. What the file still has needs no
// room.
func (j *Journal) Note(facts ...Fact) error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	now, room := slices.Clone(j.facts), true
	for _, f := range facts {
		switch {
		case j.file == nil:
			return fmt.Errorf("note %s: %w", f, os.ErrClosed)
		case j.leftover:
			return fmt.Errorf("note %s: the journal %s is not healed", f, j.path)
		case slices.Contains(j.facts, f):
			continue
		}
		now, room = append(now, f), room && slices.Contains(j.written, f)
	}
	if room {
		j.facts = now
		return nil
	}
	if err := j.write(now); err != nil {
		return explain(filepath.Dir(j.path), fmt.Errorf("note %s in the journal: %w", facts[0], err))
	}
	return nil
}

// Drop removes facts after their changes were undone, or were not made.
func (j *Journal) Drop(facts ...Fact) error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(j.facts),
		func(f Fact) bool { return slices.Contains(facts, f) })
	if j.file == nil || len(left) == len(j.facts) {
		return nil
	}
	if err := j.shrink(left); err != nil {
		return explain(filepath.Dir(j.path), fmt.Errorf("drop %s from the journal: %w", facts[0],
			err))
	}
	return nil
}

// Close gives the lock back and deletes the file, unless it still notes a fact that outlasts this
// process, which is then Cleanup's to undo. It is idempotent.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file == nil {
		return nil
	}
	var err error
	if j.leftover || slices.ContainsFunc(j.facts, lasts) {
		err = j.file.Close()
	} else {
		err = j.file.Remove()
	}
	j.file = nil
	if err != nil {
		return explain(filepath.Dir(j.path), fmt.Errorf("close journal: %w", err))
	}
	return nil
}

// lasts reports whether a fact outlasts the process that made it.
func lasts(f Fact) bool {
	_, ends := f.(Transient)
	return !ends
}

// Dev returns the device whose journal this is; "" for a nil *Journal.
func (j *Journal) Dev() string {
	if j == nil {
		return ""
	}
	return j.dev
}
