package atomicfile

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked says that another process holds a file.
var ErrLocked = errors.New("locked by another process")

// lockPause is the time between two attempts to lock a file.
const lockPause = 20 * time.Millisecond

// Flock locks f for this process alone (flock(2)), and waits as long as patience for another to
// give it up; the error is then ErrLocked. The lock goes with the last descriptor of f.
func Flock(f *os.File, patience time.Duration) error {
	for until := time.Now().Add(patience); ; time.Sleep(lockPause) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case !errors.Is(err, unix.EWOULDBLOCK):
			return err
		case !time.Now().Before(until):
			return ErrLocked
		}
	}
}

// Locked is a file whose name this process holds locked, also while its content is replaced. It is
// for one goroutine.
type Locked struct {
	path string
	file *os.File
}

// Lock opens the file at path as Open does, for reading and writing, with mode 0600 if flag is
// os.O_CREATE and there is none, and locks it as Flock does. Close it, or Remove it.
func Lock(path string, flag int, patience time.Duration) (*Locked, error) {
	for {
		file, err := Open(path, os.O_RDWR|flag, 0o600)
		if err != nil {
			return nil, err
		}
		l := &Locked{path: path, file: file}
		err = Flock(file, patience)
		if err == nil {
			var current bool
			if current, err = l.isCurrent(); current && err == nil {
				return l, nil
			}
		}
		if closing := file.Close(); err != nil || closing != nil {
			return nil, errors.Join(err, closing)
		}
	}
}

// isCurrent reports whether the name still leads to the file: its holder may have replaced or
// removed it before the lock.
func (l *Locked) isCurrent() (bool, error) {
	opened, err := l.Stat()
	if err != nil {
		return false, err
	}
	var named unix.Stat_t
	if err := unix.Lstat(l.path, &named); err != nil && !errors.Is(err, unix.ENOENT) {
		return false, &os.PathError{Op: "lstat", Path: l.path, Err: err}
	}
	return opened.Dev == named.Dev && opened.Ino == named.Ino, nil
}

// Stat describes the file.
func (l *Locked) Stat() (info unix.Stat_t, err error) {
	if err := unix.Fstat(int(l.file.Fd()), &info); err != nil {
		return info, &os.PathError{Op: "stat", Path: l.path, Err: err}
	}
	return info, nil
}

// Read returns the first limit bytes of the file.
func (l *Locked) Read(limit int64) ([]byte, error) {
	return io.ReadAll(io.NewSectionReader(l.file, 0, limit))
}

// Replace makes the file hold data, or leaves it as it was, whatever happens meanwhile, and keeps
// the lock. With durable the data survives a power cut when Replace returns.
func (l *Locked) Replace(data []byte, durable bool) error {
	if _, err := l.Stat(); err != nil { // it is closed, and another process may have it
		return err
	}
	next, err := write(l.path, data, durable)
	if err != nil {
		return err
	}
	return l.take(next, durable)
}

// Commit is Replace by what Prepare has made for the same file.
func (l *Locked) Commit(n *Next) error { return l.take(n.file, true) }

// take puts next in the file's place.
func (l *Locked) take(next *os.File, durable bool) error {
	if err := Flock(next, 0); err != nil { // nobody else knows it
		return errors.Join(err, next.Close(), os.Remove(next.Name()))
	}
	if err := rename(next, l.path); err != nil {
		return errors.Join(err, next.Close())
	}
	// A process that waits for the old file's lock gets it now, sees that the path names another
	// file, and tries again.
	err := l.file.Close()
	l.file = next
	if err == nil && durable {
		err = SyncDir(l.path)
	}
	return err
}

// Remove deletes the file and gives the lock up.
func (l *Locked) Remove() error {
	// In this order: after the unlock another process may hold a file of this name.
	return errors.Join(os.Remove(l.path), l.file.Close())
}

// Close gives the lock up.
func (l *Locked) Close() error { return l.file.Close() }
