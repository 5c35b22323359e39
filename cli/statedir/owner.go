package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"tunnel/auth"
	"tunnel/control"
	"tunnel/privsep"
)

// acmeDir is where a state directory has what came from an ACME authority.
const acmeDir = "acme"

// stateNames are patterns of the files that this program keeps in a state directory.
func stateNames() []string {
	return []string{
		stateFile, stateFile + ".*.new", auth.IdentityKey, auth.IdentityKey + ".new", auth.IdentityCert, auth.IdentityCert + ".new",
		"session-*.json", "credential-*.json", "credential-*.json.new", control.SocketName, acmeDir,
	}
}

// handOver gives a state directory to the user owner: what this program keeps there, and then the directory. What belongs
// to neither root nor the user other stays as it is, and so does what has a second name, or is a link. A directory that has
// only other things is refused: it may be anything, as /etc.
func handOver(dir *os.File, owner privsep.User, other int) error {
	ours, others, err := list(dir)
	if err != nil {
		return err
	}
	if len(ours) == 0 && len(others) > 0 && owner.UID != 0 {
		return fmt.Errorf("it is no state directory, for it has %s and nothing of tunnel", others[0])
	}
	for _, name := range ours {
		if name == acmeDir {
			err = handOverACME(dir, owner, other)
		} else {
			err = giveFile(dir, name, owner, other)
		}
		if err != nil {
			return err
		}
	}
	return give(dir, unix.S_IFDIR, owner, other)
}

// list returns the names in a directory: those that this program gives, and all others but that of a file system's own.
func list(dir *os.File) (ours, others []string, err error) {
	f, err := openAt(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.EACCES) { // root without CAP_DAC_OVERRIDE, in a directory that was handed over already
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		known := false
		for _, pattern := range stateNames() {
			match, _ := filepath.Match(pattern, name) // the patterns are sound
			known = known || match
		}
		if known {
			ours = append(ours, name)
		} else if name != "lost+found" {
			others = append(others, name)
		}
	}
	return ours, others, nil
}

// handOverACME is handOver for the directory of an ACME authority's files.
func handOverACME(dir *os.File, owner privsep.User, other int) error {
	sub, err := openAt(dir, acmeDir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil // no directory, or nobody's to read: it is not handed over
	}
	defer func() { _ = sub.Close() }()
	names, err := sub.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := giveFile(sub, name, owner, other); err != nil {
			return err
		}
	}
	return give(sub, unix.S_IFDIR, owner, other)
}

func giveFile(dir *os.File, name string, owner privsep.User, other int) error {
	f, err := openAt(dir, name, unix.O_PATH)
	if err != nil {
		return nil // it is gone, or was not root's to see
	}
	defer func() { _ = f.Close() }()
	return give(f, unix.S_IFREG, owner, other)
}

// give makes the owner that of an open file of the type kind, if it was root's or the user other's and has no second name.
func give(f *os.File, kind uint32, owner privsep.User, other int) error {
	var info unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &info); err != nil {
		return err
	}
	uid := int(info.Uid)
	if info.Mode&unix.S_IFMT != kind || kind == unix.S_IFREG && info.Nlink != 1 || uid == owner.UID || uid != 0 && uid != other {
		return nil
	}
	if err := unix.Fchownat(int(f.Fd()), "", owner.UID, owner.GID, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("chown %s: %w", f.Name(), err)
	}
	return nil
}

// openAt opens a file of a directory, and follows no link.
func openAt(dir *os.File, name string, flag int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flag|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name)), nil
}
