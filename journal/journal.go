package route

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Journal is the file in which a run notes what it adds to the kernel before it adds it, so that after a SIGKILL the
// next run, or Cleanup, can take it away. It is named <boot>-<namespace>-<dev>.json and holds a header line and one
// line per entry. While the run lives it holds a flock on the file.
//
// The file is replaced as a whole with every change: a new file is written and locked, then renamed over the old
// one. Nothing is synced to disk, because what it describes does not outlive the machine's memory either.
//
// A nil *Journal notes nothing, as a dry run needs it. A Journal is safe for concurrent use.
type Journal struct {
	dev   string
	path  string
	rules rules

	mu       sync.Mutex
	file     *os.File // guarded by mu, as all below; locked; nil once closed
	entries  []entry  // oldest first
	leftover bool     // entries are a killed run's and not healed
}

// header is the first line of a journal.
type header struct {
	Tunnel string `json:"tunnel"` // the device, for people
	PID    int    `json:"pid"`    // of the run that holds the lock
}

// ErrBusy says that another live run has this device in this network namespace.
var ErrBusy = errors.New("in use by another run of tunnel")

// ErrForeign says that a journal is another user's, so that it must not tell this process what to undo.
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

// OpenJournal opens and locks the journal of the device dev in the calling thread's network namespace, in the directory
// dir (see JournalDir). If a live run holds it the error is a *BusyError, else a *JournalError. If a
// killed run left it, Heal must be called before anything is noted. The caller owns the Journal and
// closes it, directly or by Router.Close.
func OpenJournal(dir, dev string) (*Journal, error) {
	if err := checkDev(dev); err != nil {
		return nil, journalError(dir, err)
	}
	key, err := currentKey()
	if err != nil {
		return nil, journalError(dir, err)
	}
	return openJournal(filepath.Join(dir, key.file(dev)), rulesFor(dev), os.O_CREATE)
}

// openJournal opens the journal at path; flag is os.O_CREATE or 0.
func openJournal(path string, rules rules, flag int) (*Journal, error) {
	dev := rules.dev
	file, err := openLocked(path, dev, flag)
	if err != nil {
		return nil, journalError(filepath.Dir(path), err)
	}
	j := &Journal{dev: dev, path: path, rules: rules, file: file}
	content, err := io.ReadAll(io.LimitReader(file, maxJournal))
	if err == nil {
		j.entries = parseEntries(content, rules)
		j.leftover = len(j.entries) > 0
		err = j.write(j.entries) // our pid, and none of the damage
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
		return nil, journalError(filepath.Dir(path), errors.Join(err, j.file.Close()))
	}
	return j, nil
}

// maxJournal bounds what is read of a journal, in bytes: thousands of entries, where a run has a handful.
const maxJournal = 1 << 20

// openLocked opens path and takes its lock, and makes sure that the lock is on the file that path names.
func openLocked(path, dev string, flag int) (*os.File, error) {
	for {
		// O_NONBLOCK: a FIFO in our place must not hang us.
		file, err := os.OpenFile(path, os.O_RDWR|flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if errors.Is(err, unix.ELOOP) {
			return nil, fmt.Errorf("journal %s is a symbolic link: %w", path, ErrForeign)
		}
		if err != nil {
			return nil, fmt.Errorf("open journal: %w", err)
		}
		current, err := lock(file, path, dev)
		if current && err == nil {
			return file, nil
		}
		if closing := file.Close(); err != nil || closing != nil {
			return nil, errors.Join(err, closing)
		}
	}
}

// lock locks file and reports whether path still names it: its holder may have replaced or removed it in between.
func lock(file *os.File, path, dev string) (current bool, err error) {
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		content, err := io.ReadAll(io.LimitReader(file, maxJournal))
		if err != nil {
			return false, fmt.Errorf("read journal %s: %w", path, err)
		}
		var head header
		first, _, _ := bytes.Cut(content, []byte("\n"))
		_ = json.Unmarshal(first, &head) // a header that cannot be read has no pid
		return false, &BusyError{Dev: dev, PID: head.PID}
	}
	if err != nil {
		return false, fmt.Errorf("lock journal %s: %w", path, err)
	}
	var opened, named unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &opened); err != nil {
		return false, fmt.Errorf("examine journal %s: %w", path, err)
	}
	if err := unix.Lstat(path, &named); err != nil && !errors.Is(err, unix.ENOENT) {
		return false, fmt.Errorf("examine journal %s: %w", path, err)
	}
	if opened.Dev != named.Dev || opened.Ino != named.Ino {
		return false, nil
	}
	// More than one link: somebody placed a file of ours, but not a journal, under this name.
	if opened.Mode&unix.S_IFMT != unix.S_IFREG || opened.Nlink != 1 || !trusted(opened.Uid) {
		return false, fmt.Errorf("journal %s: %w (uid %d): that user can run `tunnel cleanup`, or delete the file",
			path, ErrForeign, opened.Uid)
	}
	return true, nil
}

// parseEntries reads a journal and keeps every line that is an entry by the rules, and that healing may undo: a damaged
// one must not cost the others.
func parseEntries(content []byte, rules rules) []entry {
	var entries []entry
	for line := range bytes.Lines(content) {
		var e entry
		sound := json.Unmarshal(line, &e) == nil && rules.check(e) == nil && rules.heals(e)
		if sound && !slices.Contains(entries, e) {
			entries = append(entries, e)
		}
	}
	return entries
}

// write replaces the file's content and keeps the lock. The caller holds mu, or owns j alone.
func (j *Journal) write(entries []entry) error {
	var content bytes.Buffer
	lines := json.NewEncoder(&content)
	if err := lines.Encode(header{Tunnel: j.dev, PID: os.Getpid()}); err != nil {
		return err
	}
	for _, e := range entries {
		if err := lines.Encode(e); err != nil {
			return err
		}
	}
	if err := j.replace(content.Bytes()); err != nil {
		return err
	}
	j.entries = slices.Clone(entries)
	return nil
}

// shrink is write for entries of which the file has more. Without room it keeps these: a next run looks
// for them, and finds that they are gone.
func (j *Journal) shrink(entries []entry) error {
	err := j.write(entries)
	if isFull(err) {
		j.entries, err = slices.Clone(entries), nil
	}
	return err
}

// replace puts a file with this content in the place of the journal's. The caller is that of write.
func (j *Journal) replace(content []byte) error {
	temporary := j.path + ".new" // only the holder of the lock writes it
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	if err == nil {
		err = os.Rename(temporary, j.path)
	}
	if err != nil {
		return errors.Join(err, file.Close(), os.Remove(temporary))
	}
	// Whoever waits for the old file's lock gets it now, sees that the path names another file, and tries again.
	err = j.file.Close()
	j.file = file
	return err
}

// RecordDevice notes that the journal's device is about to be created.
func (j *Journal) RecordDevice() error { return j.note(entry{Kind: kindDevice, Dev: j.device()}) }

// ForgetDevice notes that the device was created and goes with its file descriptor, or was not created.
func (j *Journal) ForgetDevice() error { return j.drop(entry{Kind: kindDevice, Dev: j.device()}) }

func (j *Journal) device() string {
	if j == nil {
		return ""
	}
	return j.dev
}

// note adds e before the change that it describes is made.
func (j *Journal) note(e entry) error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.file == nil:
		return fmt.Errorf("note %s: %w", e, os.ErrClosed)
	case j.leftover:
		return fmt.Errorf("note %s: the journal %s is not healed", e, j.path)
	case slices.Contains(j.entries, e):
		return nil
	}
	if err := j.write(append(slices.Clone(j.entries), e)); err != nil {
		return journalError(filepath.Dir(j.path), fmt.Errorf("note %s in the journal: %w", e, err))
	}
	return nil
}

// drop removes e after its change was undone.
func (j *Journal) drop(e entry) error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	at := slices.Index(j.entries, e)
	if j.file == nil || at < 0 {
		return nil
	}
	if err := j.shrink(slices.Delete(slices.Clone(j.entries), at, at+1)); err != nil {
		return journalError(filepath.Dir(j.path), fmt.Errorf("drop %s from the journal: %w", e, err))
	}
	return nil
}

// Close gives the lock back and deletes the file, unless it still notes an address or a route, which is then Cleanup's
// to remove. It is idempotent.
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
	if j.leftover || slices.ContainsFunc(j.entries, func(e entry) bool { return e.Kind != kindDevice }) {
		err = j.file.Close()
	} else {
		// In this order: after the unlock another run may hold a file of this name.
		err = errors.Join(os.Remove(j.path), j.file.Close())
	}
	j.file = nil
	if err != nil {
		return journalError(filepath.Dir(j.path), fmt.Errorf("close journal: %w", err))
	}
	return nil
}
