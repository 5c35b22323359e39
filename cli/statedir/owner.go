package statedir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"tunnel/certs"
	"tunnel/control"
	"tunnel/privsep/sandbox"
)

// ACMEDir is the subdirectory of an ACME authority's files.
const ACMEDir = "acme"

// stateNames are patterns of the files that this program keeps in a state directory.
func stateNames() []string {
	return []string{
		FileName, FileName + ".new", FileName + ".*.new", certs.IdentityKey, certs.IdentityKey + ".new",
		certs.IdentityCert, certs.IdentityCert + ".new",
		"session-*.json", "credential-*.json", "credential-*.json.new", control.SocketName, ACMEDir,
	}
}

// distinctive reports whether a name in a state directory is one that only this program gives.
func distinctive(name string) bool {
	return name == FileName || strings.HasPrefix(name, "session-") ||
		strings.HasPrefix(name, "credential-")
}

// handOver gives a state directory to the user owner: first this program's files, then the
// directory; root takes the directory first, because without CAP_DAC_OVERRIDE it could not list it.
// Files of users other than root and other stay as they are, and so do symbolic links and files
// with a second hard link. A directory of root, whose number is uid, is refused if it has anything
// else: it may be any directory, even /etc or /etc/tunnel.
func handOver(dir *os.File, owner sandbox.User, other, uid int) error {
	if owner.UID == 0 {
		if err := give(dir, unix.S_IFDIR, owner, other); err != nil {
			return err
		}
	}
	ours, others, err := list(dir)
	if err != nil {
		return err
	}
	if owner.UID != 0 && uid == 0 {
		// Certificates and keys have these names in many places.
		if !slices.ContainsFunc(ours, distinctive) {
			others = append(others, ours...)
		}
		if len(others) > 0 {
			return fmt.Errorf("it is not a state directory: it has %s, which is not of this program",
				others[0])
		}
	}
	for _, name := range ours {
		if name == ACMEDir {
			err = handOverACME(dir, owner, other)
		} else {
			err = giveNamed(dir, name, unix.S_IFREG, owner, other)
		}
		if err != nil {
			return err
		}
	}
	return give(dir, unix.S_IFDIR, owner, other)
}

// list returns the names in a directory: this program's, and all others except lost+found.
func list(dir *os.File) (ours, others []string, err error) {
	f, err := openAt(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	// root without CAP_DAC_OVERRIDE, after the directory was handed over
	if errors.Is(err, unix.EACCES) {
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
func handOverACME(dir *os.File, owner sandbox.User, other int) error {
	if owner.UID == 0 {
		if err := giveNamed(dir, ACMEDir, unix.S_IFDIR, owner, other); err != nil {
			return err
		}
	}
	sub, err := openAt(dir, ACMEDir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil // missing or unreadable: it is not handed over
	}
	defer func() { _ = sub.Close() }()
	names, err := sub.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := giveNamed(sub, name, unix.S_IFREG, owner, other); err != nil {
			return err
		}
	}
	return give(sub, unix.S_IFDIR, owner, other)
}

// giveNamed is give for a name in a directory.
func giveNamed(dir *os.File, name string, kind uint32, owner sandbox.User, other int) error {
	f, err := openAt(dir, name, unix.O_PATH)
	if err != nil {
		return nil // it is gone, or root may not see it
	}
	defer func() { _ = f.Close() }()
	return give(f, kind, owner, other)
}

// give changes the owner of an open file of the type kind, if it belongs to root or other and has
// no second hard link.
func give(f *os.File, kind uint32, owner sandbox.User, other int) error {
	var info unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &info); err != nil {
		return err
	}
	uid := int(info.Uid)
	if info.Mode&unix.S_IFMT != kind || kind == unix.S_IFREG && info.Nlink != 1 ||
		uid == owner.UID || uid != 0 && uid != other {
		return nil
	}
	if err := unix.Fchownat(int(f.Fd()), "", owner.UID, owner.GID, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("chown %s: %w", f.Name(), err)
	}
	return nil
}

// openAt opens a file of a directory, and does not follow a symbolic link.
func openAt(dir *os.File, name string, flag int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flag|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name)), nil
}
