// Package state owns the one file of a server: a bbolt database, tunnel.db. Other packages get a
// Bucket of it and keep their data in memory; the file is read at startup and written when
// something must survive a power cut.
package state

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"tunnel/atomicfile"
)

// Errors of a File. Each is wrapped with the file's name and what happened.
var (
	ErrLocked  = errors.New("another server uses this state directory")
	ErrDamaged = errors.New("the file is damaged")
	ErrFull    = errors.New("the disk is full")
)

// lockTimeout is how long Open waits for another server that is stopping.
const lockTimeout = 3 * time.Second

// File is the database. A Write that returned nil survives a power cut. All methods may be called
// concurrently.
type File struct {
	path    string
	db      *bbolt.DB
	broken  atomic.Bool // bbolt has panicked in a transaction; it may still hold its locks
	commits commits
}

// Open opens the file at path, creating it with mode 0600 if it does not exist, checks all of it,
// and locks it. The caller closes it. The error is ErrLocked, ErrDamaged or ErrFull, wrapped, or an
// os.PathError.
func Open(path string) (*File, error) { return open(path, lockTimeout) }

// Try is Open, but does not wait for the lock.
func Try(path string) (*File, error) { return open(path, 0) }

func open(path string, patience time.Duration) (*File, error) {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		if err := create(path); err != nil {
			return nil, explain(path, err)
		}
	}
	f := &File{path: path}
	var under *os.File
	err := guard(func() (err error) {
		f.db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			OpenFile: func(name string, flag int, mode os.FileMode) (_ *os.File, err error) {
				under, err = lock(name, flag, mode, patience)
				return under, err
			},
		})
		return err
	})
	if err != nil {
		if under != nil {
			_ = under.Close() // bbolt has closed it too, unless it panicked
		}
		return nil, explain(path, err)
	}
	sweep(path)
	return f, nil
}

// lock opens the file, locks it in the way that bbolt does, and checks all of it.
func lock(name string, flag int, mode os.FileMode, patience time.Duration) (*os.File, error) {
	// The file is not created here: if it was removed just now, a new one would be an empty
	// database.
	f, err := atomicfile.Open(name, flag&^os.O_CREATE, mode)
	if err != nil {
		return nil, err
	}
	if err = atomicfile.Flock(f, patience); errors.Is(err, atomicfile.ErrLocked) {
		err = ErrLocked
	}
	if err == nil {
		var data []byte
		if data, err = io.ReadAll(f); err == nil {
			err = checkPages(data)
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// Check checks all of the file at path, and leaves it as it is. One that a server has open is not
// looked at, and one that does not exist has no fault. The error is as that of Open.
func Check(path string) error {
	f, err := lock(path, os.O_RDWR, 0, 0)
	switch {
	case errors.Is(err, ErrLocked), errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return explain(path, err)
	}
	return f.Close()
}

// Close unlocks the file.
func (f *File) Close() error {
	if f.broken.Load() {
		return nil // it would block on bbolt's locks; the process's exit releases the file
	}
	if err := guard(f.db.Close); err != nil {
		return explain(f.path, err)
	}
	return nil
}

// Path returns the file's name.
func (f *File) Path() string { return f.path }

// create makes the file atomically: a process that is killed in create leaves nothing under that
// name.
func create(path string) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.new")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	if err := temp.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(temp.Name(), 0o600, nil)
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	// Another process may have created it first; its file is equivalent.
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return atomicfile.SyncDir(path)
}

// sweep removes temporary files of a create that was killed.
func sweep(path string) {
	// the pattern is valid
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), filepath.Base(path)+".*.new"))
	for _, name := range left {
		if info, err := os.Stat(name); err == nil && time.Since(info.ModTime()) > time.Minute {
			_ = os.Remove(name)
		}
	}
}

// guard runs f, which reads a memory-mapped file, and turns a panic into ErrDamaged: bbolt panics
// on damaged pages, and the kernel sends SIGBUS for missing ones.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	return f()
}

// explain adds the file's name to err, and maps err to ErrDamaged or ErrFull if it is one of them.
func explain(path string, err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum),
		errors.Is(err, bolterrors.ErrVersionMismatch):
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT),
		// bbolt does not wrap the error of ftruncate
		strings.Contains(err.Error(), unix.ENOSPC.Error()):
		err = ErrFull
	}
	return fmt.Errorf("%s: %w", path, err)
}
