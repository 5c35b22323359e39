// Package atomicfile reads and replaces small files in directories that other users may have put
// links into.
package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrNotRegular says that a name leads to a directory, a device, a FIFO or a socket.
var ErrNotRegular = errors.New("not a regular file")

// Open opens a file as os.OpenFile does, but follows no symbolic link in its last element, and
// does not wait where there is a FIFO. It refuses what is no regular file.
func Open(path string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, mode)
	if err != nil {
		return nil, err
	}
	var info unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &info); err == nil && info.Mode&unix.S_IFMT != unix.S_IFREG {
		err = ErrNotRegular
	}
	if err != nil {
		_ = f.Close()
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return f, nil
}

// Read returns what the file holds.
func Read(path string) ([]byte, error) {
	f, err := Open(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(f)
}

// Replace makes the file hold data, with mode 0600, or leaves it as it was, whatever happens
// meanwhile. When it returns, the data survives a power cut. Only one process at a time may do so.
func Replace(path string, data []byte) error {
	next, err := Prepare(path, data)
	if err != nil {
		return err
	}
	return next.Commit()
}

// Next is new content of a file, which is on the disk, under another name. It is for one goroutine.
type Next struct {
	path string
	file *os.File
}

// Prepare writes data, on disk when it returns, to be the content of the file at path. The caller
// calls Commit or Discard; only one process at a time may do so.
func Prepare(path string, data []byte) (*Next, error) {
	next, err := write(path, data, true)
	if err != nil {
		return nil, err
	}
	return &Next{path, next}, nil
}

// Commit makes the file hold the data, with mode 0600, or leaves it as it was. When it returns, the
// name survives a power cut.
func (n *Next) Commit() error {
	if err := errors.Join(rename(n.file, n.path), n.file.Close()); err != nil {
		return err
	}
	return SyncDir(n.path)
}

// Discard removes the data, unless Commit was called.
func (n *Next) Discard() {
	if n.file.Close() == nil {
		_ = os.Remove(n.file.Name())
	}
}

// write makes a file beside path, with mode 0600, that holds data.
func write(path string, data []byte, durable bool) (next *os.File, err error) {
	name := path + ".new"
	// It may be that of a run that was killed, with any mode.
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	next, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = next.Write(data)
	if err == nil && durable {
		err = next.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, next.Close(), os.Remove(name))
	}
	return next, nil
}

// rename puts next in the place of path, or removes it.
func rename(next *os.File, path string) error {
	if err := os.Rename(next.Name(), path); err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	return nil
}

// SyncDir writes the directory of path to disk, so that its names survive a power cut.
func SyncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return dir.Sync()
}
