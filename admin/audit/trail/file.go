package trail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// keep is how many files of earlier lines there are after a rotation: NAME.1, the latest, to
// NAME.4. With the present one they take five times the size at most.
const keep = 4

// file is a writer to a file. It is opened again when its name leads to another file, or to none:
// others, such as logrotate, may rename it.
type file struct {
	name string
	most int64    // bytes; 0 is no bound
	at   *os.File // nil if it has to be opened
}

// errForeign means that others decide what is in the file.
var errForeign = errors.New("it is no file of this user alone")

func openFile(name string, most int64) (*file, error) {
	f := &file{name: name, most: most}
	err := f.open()
	for _, later := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO} {
		if errors.Is(err, later) {
			return f, nil
		}
	}
	return f, err
}

// open opens the file by its name, or makes it, for its owner alone. One that is there must be a
// regular file of this user, with no other name, that others may not write.
func (f *file) open() error {
	at, err := os.OpenFile(f.name, os.O_RDWR|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|
		unix.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	var s unix.Stat_t
	if err = unix.Fstat(int(at.Fd()), &s); err == nil &&
		(s.Mode&unix.S_IFMT != unix.S_IFREG || int(s.Uid) != os.Geteuid() || s.Nlink != 1 ||
			s.Mode&0o022 != 0) {
		err = fmt.Errorf("%s: %w: owner %d, mode %o, %d names", f.name, errForeign, s.Uid,
			s.Mode&0o7777, s.Nlink)
	}
	if err != nil {
		_ = at.Close()
		return err
	}
	f.at = at
	last := make([]byte, 1)
	if n, _ := at.ReadAt(last, s.Size-1); n == 1 && last[0] != '\n' {
		_, err = at.WriteString("\n") // a power cut has left half a line
	}
	return err
}

// current opens the file unless it is open and its name still leads to it.
func (f *file) current() error {
	if f.at != nil {
		named, err := os.Lstat(f.name)
		is, failed := f.at.Stat()
		if err == nil && failed == nil && os.SameFile(named, is) {
			return nil
		}
		_ = f.close()
	}
	return f.open()
}

// write implements writer. Each line is written with one write(2); half a line is taken back.
func (f *file) write(lines []line) (written int, err error) {
	if err := f.current(); err != nil {
		return 0, err
	}
	for _, l := range lines {
		if err := f.add(l.json); err != nil {
			return written, err
		}
		written++
	}
	return written, nil
}

// add writes a line.
func (f *file) add(text []byte) error {
	info, err := f.at.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	text = append(text[:len(text):len(text)], '\n')
	if f.most > 0 && size > 0 && size+int64(len(text)) > f.most {
		if err := f.rotate(); err != nil {
			return err
		}
		size = 0
	}
	n, err := f.at.Write(text)
	if err != nil && n > 0 {
		// Others may have cut it off meanwhile: then this changes nothing.
		if now, failed := f.at.Stat(); failed == nil && now.Size() == size+int64(n) {
			_ = f.at.Truncate(size)
		}
	}
	return err
}

// rotate renames the file to NAME.1, NAME.1 to NAME.2 and so on, removes the last, and begins the
// next. If it fails, nothing is written until it succeeds: the size is a promise.
func (f *file) rotate() error {
	for i := keep; i > 1; i-- {
		err := os.Rename(f.old(i-1), f.old(i))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate: %w", err)
		}
	}
	if err := os.Rename(f.name, f.old(1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rotate: %w", err)
	}
	_ = f.close()
	return f.open()
}

// old returns the name of the file of earlier lines with that number.
func (f *file) old(number int) string { return f.name + "." + strconv.Itoa(number) }

func (f *file) close() error {
	if f.at == nil {
		return nil
	}
	err := f.at.Close()
	f.at = nil
	return err
}
