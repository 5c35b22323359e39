package trail

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// keep is how many files of earlier lines there are after a rotation: NAME.1, the latest, to
// NAME.4. With the present one they take five times the size at most.
const keep = 4

// file is a writer to a file. It is opened again when its name leads to another file, or to none:
// others, such as logrotate, may rename it. Its directory is opened once, and belongs to root or
// this user: nobody else can put another in its place.
type file struct {
	name string   // for people
	dir  *os.File // opened with O_PATH
	base string   // the name in dir
	most int64    // bytes; 0 is no bound
	at   *os.File // nil if it has to be opened
	// is told why the file grows above most
	unrotated func(error)
}

// errForeign means that others decide what is in the file.
var errForeign = errors.New("it is no file of this user alone")

// errForeignDir means that others decide which file has the name.
var errForeignDir = errors.New("other users may write to this directory")

// errTwice means that another process has locked the file.
var errTwice = errors.New("another hub writes to this file: give each a file of its own")

func openFile(name string, most int64, unrotated func(error)) (*file, error) {
	f := &file{name: name, base: filepath.Base(name), most: most, unrotated: unrotated}
	if err := f.openDir(filepath.Dir(name)); err != nil {
		return nil, err
	}
	err := f.open()
	for _, later := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO} {
		if errors.Is(err, later) {
			return f, nil
		}
	}
	if err != nil {
		_ = f.close()
		_ = f.dir.Close()
	}
	return f, err
}

// openDir opens the directory. A sticky one may be written by others: they cannot rename or remove
// the file there.
func (f *file) openDir(name string) error {
	dir, err := os.OpenFile(name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	var s unix.Stat_t
	if err = unix.Fstat(int(dir.Fd()), &s); err == nil && (s.Uid != 0 && int(s.Uid) != os.Geteuid() ||
		s.Mode&0o022 != 0 && s.Mode&unix.S_ISVTX == 0) {
		err = fmt.Errorf("%s: %w: owner %d, mode %o", name, errForeignDir, s.Uid, s.Mode&0o7777)
	}
	if err != nil {
		_ = dir.Close()
		return err
	}
	f.dir = dir
	return nil
}

// isOwn reports whether a file is a regular one of this user, with no other name.
func isOwn(s unix.Stat_t) bool {
	return s.Mode&unix.S_IFMT == unix.S_IFREG && int(s.Uid) == os.Geteuid() && s.Nlink == 1
}

// open opens the file by its name, or makes it, for its owner alone, and locks it. One that is
// there must be a regular file of this user, with no other name, that others may not write.
func (f *file) open() error {
	fd, err := unix.Openat(int(f.dir.Fd()), f.base, unix.O_RDWR|unix.O_APPEND|unix.O_CREAT|
		unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "open", Path: f.name, Err: err}
	}
	at := os.NewFile(uintptr(fd), f.name)
	var s unix.Stat_t
	err = unix.Fstat(fd, &s)
	switch {
	case err != nil:
	case !isOwn(s) || s.Mode&0o022 != 0:
		err = fmt.Errorf("%s: %w: owner %d, mode %o, %d names", f.name, errForeign, s.Uid,
			s.Mode&0o7777, s.Nlink)
	default:
		if err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%s: %w", f.name, errTwice)
		}
	}
	last := make([]byte, 1)
	if err == nil {
		if n, _ := at.ReadAt(last, s.Size-1); n == 1 && last[0] != '\n' {
			_, err = at.WriteString("\n") // a power cut has left half a line
		}
	}
	if err != nil { // also after that: the next line would be glued to the half one
		_ = at.Close()
		return err
	}
	f.at = at
	return nil
}

// current opens the file unless it is open and its name still leads to it.
func (f *file) current() error {
	if f.at != nil {
		var named, is unix.Stat_t
		err := unix.Fstatat(int(f.dir.Fd()), f.base, &named, unix.AT_SYMLINK_NOFOLLOW)
		failed := unix.Fstat(int(f.at.Fd()), &is)
		if err == nil && failed == nil && named.Dev == is.Dev && named.Ino == is.Ino {
			return nil
		}
		_ = f.at.Close()
		f.at = nil
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
			f.unrotated(err)
		}
		if err := f.current(); err != nil {
			return err
		}
		if info, err = f.at.Stat(); err != nil {
			return err
		}
		size = info.Size()
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

// next is the number of a file that is about to become NAME.1.
const next = 0

// rotate renames the file to NAME.1, NAME.1 to NAME.2 and so on, removes the last, and begins the
// next. The file is renamed first, and the others only when that is done: a rotation that fails
// again and again loses none of them. Nothing that is not this user's is renamed or replaced.
func (f *file) rotate() error {
	dir := int(f.dir.Fd())
	gap := keep
	for number := keep; number >= next; number-- {
		var s unix.Stat_t
		switch err := unix.Fstatat(dir, f.old(number), &s, unix.AT_SYMLINK_NOFOLLOW); {
		case errors.Is(err, unix.ENOENT):
			if number > next {
				gap = number
			}
		case err != nil:
			return fmt.Errorf("rotate: %w", err)
		case !isOwn(s):
			return fmt.Errorf("rotate: %s: %w", f.old(number), errForeign)
		}
	}
	// A rotation that was broken off has left NAME.0: it is ended first.
	err := unix.Renameat2(dir, f.base, dir, f.old(next), unix.RENAME_NOREPLACE)
	switch {
	case errors.Is(err, unix.ENOENT): // others have renamed it
		return nil
	case err != nil && !errors.Is(err, unix.EEXIST):
		return fmt.Errorf("rotate: %w", err)
	}
	for number := gap; number > next; number-- {
		if err := unix.Renameat(dir, f.old(number-1), dir, f.old(number)); err != nil {
			return errors.Join(fmt.Errorf("rotate: %w", err), // and write on
				unix.Renameat2(dir, f.old(next), dir, f.base, unix.RENAME_NOREPLACE))
		}
	}
	return nil
}

// old returns the name in dir of the file of earlier lines with that number.
func (f *file) old(number int) string { return f.base + "." + strconv.Itoa(number) }

func (f *file) close() error {
	if f.at == nil {
		return nil
	}
	err := f.at.Close()
	f.at = nil
	return err
}
