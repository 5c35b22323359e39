package invocation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/journal"
)

// OpenFile opens a file that the user names, to read it. It never waits for another program, as
// open(2) of a FIFO does, and opens only
//   - a regular file that no other user may write to, nor the directories on the way to it;
//   - a pipe without a name, as of `<(command)` and /dev/stdin, a terminal, and /dev/null.
func OpenFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	if err := acceptable(f, name); err != nil {
		_ = f.Close()
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return f, nil
}

func acceptable(f *os.File, name string) error {
	info, err := stat(f)
	if err != nil {
		return err
	}
	switch info.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return unwritable(f, name, info)
	case unix.S_IFIFO:
		var system unix.Statfs_t
		if err := control(f, func(fd int) error { return unix.Fstatfs(fd, &system) }); err != nil {
			return err
		}
		if system.Type == unix.PIPEFS_MAGIC {
			return nil
		}
		return errors.New("it is a FIFO: give a regular file")
	case unix.S_IFCHR:
		terminal := control(f, func(fd int) error {
			_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
			return err
		}) == nil
		//nolint:unconvert // 32 bits on some machines
		if terminal || uint64(info.Rdev) == unix.Mkdev(1, 3) {
			return nil
		}
	case unix.S_IFDIR:
		return unix.EISDIR
	}
	return errors.New("it is a device: give a regular file")
}

// unwritable returns an error if other users may write to a regular file, or replace it.
func unwritable(f *os.File, name string, info unix.Stat_t) error {
	own := func(attr string, dest []byte) (n int, err error) {
		return n, control(f, func(fd int) error {
			n, err = unix.Fgetxattr(fd, attr, dest)
			return err
		})
	}
	if how := others(info, own); how != "" {
		return fmt.Errorf("other users may write to it %s it", how)
	}
	for dir := filepath.Dir(resolved(f, name)); ; dir = filepath.Dir(dir) {
		var dirInfo unix.Stat_t
		if err := unix.Stat(dir, &dirInfo); err != nil {
			return fmt.Errorf("stat %s: %w", dir, err)
		}
		if owner := int(dirInfo.Uid); !trusted(owner) && owner != int(info.Uid) {
			return fmt.Errorf("%s, where it is, belongs to another user (uid %d), who may replace "+
				"it: `chown` one of them, or move it", dir, owner)
		}
		// In a sticky directory others can replace nothing that is not theirs.
		if dirInfo.Mode&unix.S_ISVTX == 0 && !readOnly(dir) {
			of := func(attr string, dest []byte) (int, error) {
				return unix.Getxattr(dir, attr, dest)
			}
			if how := others(dirInfo, of); how != "" {
				return fmt.Errorf("other users may write to %s, where it is %s it", dir, how)
			}
		}
		if dir == "/" || dir == "." {
			return nil
		}
	}
}

// unmapped is the number of all users that a user namespace does not know, root outside included,
// unless an administrator has changed it (user_namespaces(7)).
const unmapped = 65534

// trusted reports whether a user is root or the one who runs this process.
func trusted(uid int) bool {
	return uid == 0 || uid == os.Geteuid() || uid == unmapped && journal.InUserNamespace()
}

// others returns how a user other than root and the owner may write to a file, and the command that
// ends that; "" if none may. The owner's own group, which has the owner's number on most systems,
// and root's are not others. Where they may write, an access list may let others: the mode shows
// what such a list lets the group and all whom it names (acl(5)).
func others(info unix.Stat_t, read attribute) (how string) {
	const all, group = 0o002, 0o020
	switch {
	case info.Mode&all != 0, info.Mode&group != 0 && info.Gid != 0 && info.Gid != info.Uid:
		return fmt.Sprintf("(mode %04o): `chmod go-w`", info.Mode&0o7777)
	case info.Mode&group != 0:
		if who := listed(read, int(info.Uid)); who != "" {
			return fmt.Sprintf("(%s): `setfacl -b`", who)
		}
	}
	return ""
}

// readOnly reports whether nobody can write to dir, for it is mounted so, as the directories of a
// ConfigMap in Kubernetes, which have mode 0777.
func readOnly(dir string) bool {
	var system unix.Statfs_t
	return unix.Statfs(dir, &system) == nil && system.Flags&unix.ST_RDONLY != 0
}

// resolved returns the path of an open file without symbolic links.
func resolved(f *os.File, name string) string {
	var path string
	err := control(f, func(fd int) (err error) {
		path, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		return err
	})
	if err == nil && filepath.IsAbs(path) {
		return path
	}
	if path, err = filepath.EvalSymlinks(name); err == nil { // no /proc
		name = path
	}
	if path, err = filepath.Abs(name); err == nil {
		return path
	}
	return name
}

// ownerOf returns the user of a regular file if that is neither root nor the user of this process,
// else 0, and whether other users may read the file.
func ownerOf(f *os.File) (owner int, public bool, err error) {
	info, err := stat(f)
	if err != nil || info.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, false, err
	}
	if uid := int(info.Uid); uid != os.Geteuid() {
		owner = uid
	}
	return owner, info.Mode&0o004 != 0, nil
}

func stat(f *os.File) (info unix.Stat_t, err error) {
	return info, control(f, func(fd int) error { return unix.Fstat(fd, &info) })
}

// control calls do with the descriptor of a file; unlike File.Fd it does not make the file block.
func control(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return errors.Join(raw.Control(func(fd uintptr) { err = do(int(fd)) }), err)
}

// readAll returns what a file has, most bytes at most. It ends with ctx.
func readAll(ctx context.Context, file *os.File, most int64) ([]byte, error) {
	defer endReads(ctx, file)()
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err == nil && int64(len(data)) > most:
		return nil, fmt.Errorf("it is larger than %d bytes", most)
	}
	return data, err
}

// endReads has reads of a pipe or terminal end with ctx, unless stop is called before. Reads of a
// regular file end by themselves.
func endReads(ctx context.Context, file *os.File) (stop func() bool) {
	if file.SetReadDeadline(time.Time{}) != nil {
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
}
