// Package statedir finds, opens and secures the directory of --state.
package statedir

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"tunnel/cli/failure"
	"tunnel/cli/output"
	"tunnel/journal"
	"tunnel/privsep/sandbox"
)

// What to do about a state directory.
const (
	Advice       = "give a directory that you may write to with --state DIR"
	AdviceServer = "give the server's with --state DIR"
	adviceRoot   = "run it with sudo, or " + AdviceServer
)

// A Choice is the directory of --state.
type Choice struct {
	Dir   string
	Given bool // by the user, and not the default
}

// Open opens the state directory with O_PATH, and returns its name as well. It creates the
// directory with mode 0700 if necessary. The directory must belong to owner: one of root or of the
// user other is handed over, and any other is refused. Without --state, a user who may not write to
// the default gets one of their own (XDG Base Directory Specification).
func Open(state Choice, owner sandbox.User, other int) (*os.File, string, error) {
	name, err := stateDir(state, Make, Make)
	if err != nil {
		return nil, "", err
	}
	dir, err := openDir(name)
	if err != nil {
		return nil, "", err
	}
	if err := own(dir, owner, other); err != nil {
		_ = dir.Close()
		return nil, "", err
	}
	return dir, name, nil
}

// stateDir returns the name of the directory of --state, after use has created or found it, or of
// the user's own instead, after useOwn has.
func stateDir(state Choice, use, useOwn func(dir string) error) (string, error) {
	name := state.Dir
	err := use(name)
	own, ok := userStateDir()
	if ok && !state.Given && isOrdinary() && (errors.Is(err, os.ErrPermission) ||
		errors.Is(err, os.ErrNotExist)) {
		name, err = own, useOwn(own)
	}
	if err != nil {
		return "", stateFailure(name, err)
	}
	return name, nil
}

// isOrdinary reports whether root's directories may be closed to this process: it is not root, or
// root in a user namespace only.
func isOrdinary() bool { return os.Geteuid() != 0 || journal.InUserNamespace() }

// stateFailure returns the failure of a state directory that cannot be used.
func stateFailure(name string, err error) error {
	advice := Advice
	switch {
	case errors.Is(err, unix.EROFS):
		advice = "mount a volume at " + name + ", in Docker with --volume NAME:" + name +
			", or a tmpfs if nothing is to be kept, or " + advice
	case errors.Is(err, os.ErrNotExist):
		advice = AdviceServer
	}
	return failure.New(failure.StepState, err, advice)
}

func openDir(name string) (*os.File, error) {
	dir, err := os.OpenFile(name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, failure.New(failure.StepState, err, Advice)
	}
	return dir, nil
}

// own ensures that only the owner can write to the directory.
func own(dir *os.File, owner sandbox.User, other int) error {
	info, err := closed(dir)
	if err != nil {
		return err
	}
	root := os.Geteuid() == 0
	switch uid := int(info.Uid); {
	// root's directory may have an access list for this user
	case !root && (uid == owner.UID || uid == 0):
		return nil
	case !root:
		return failure.New(failure.StepState, foreign(dir, uid),
			"give a directory of your own with --state DIR")
	case uid != owner.UID && uid != 0 && uid != other:
		return failure.New(failure.StepState, foreign(dir, uid), adviceOwn(dir, owner))
	}
	user := cmp.Or(owner.Name, "root") // who is the user if all is one process
	if err := handOver(dir, owner, other, int(info.Uid)); errors.Is(err, unix.EPERM) {
		return failure.New(failure.StepState, fmt.Errorf("give %s to the user %s: %w", dir.Name(), user,
			err),
			fmt.Sprintf("add the capability CHOWN, or have it be `chown -R %d:%d %s` before",
				owner.UID, owner.GID, failure.ShellQuote(dir.Name())))
	} else if err != nil {
		return failure.New(failure.StepState, fmt.Errorf("give %s to the user %s: %w", dir.Name(), user,
			err), adviceOwn(dir, owner))
	}
	return nil
}

// adviceOwn is what to do about a directory that is not the user owner's. It offers to give the
// directory to that user only if nothing but this program's files and directories are in it.
func adviceOwn(dir *os.File, owner sandbox.User) string {
	const other = "give a directory of its own with --state DIR"
	if ours, others, err := list(dir); err != nil || len(others) > 0 ||
		len(ours) > 0 && !slices.ContainsFunc(ours, distinctive) {
		return other
	}
	return fmt.Sprintf("%s, or `chown -R %d:%d %s` if it is to be this server's or client's", other,
		owner.UID, owner.GID, failure.ShellQuote(dir.Name()))
}

func foreign(dir *os.File, uid int) error {
	return fmt.Errorf("%s belongs to another user (uid %d)", dir.Name(), uid)
}

// closed ensures that only its owner can create files in a directory.
func closed(dir *os.File) (info unix.Stat_t, err error) {
	if err := unix.Fstat(int(dir.Fd()), &info); err != nil {
		return info, failure.New(failure.StepState, fmt.Errorf("examine %s: %w", dir.Name(), err),
			Advice)
	}
	if info.Mode&0o022 != 0 && !closeEmpty(dir, info) {
		return info, failure.New(failure.StepState,
			fmt.Errorf("%s may be written to by other users (mode %04o)", dir.Name(),
				info.Mode&0o7777),
			"`chmod go-w` it, or give another one with --state DIR")
	}
	return info, nil
}

// closeEmpty closes an empty sticky directory of this user, as Docker's --tmpfs creates it, to
// others. It reports whether the directory was empty, and is empty still.
func closeEmpty(dir *os.File, info unix.Stat_t) bool {
	if int(info.Uid) != os.Geteuid() || info.Mode&unix.S_ISVTX == 0 {
		return false
	}
	f, err := openAt(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	if names, err := f.Readdirnames(1); len(names) > 0 || !errors.Is(err, io.EOF) {
		return false // it may be another program's directory: it stays as it is
	}
	if f.Chmod(0o700) != nil {
		return false
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return false
	}
	names, err := f.Readdirnames(1)
	return len(names) == 0 && errors.Is(err, io.EOF)
}

// Candidates returns the directories in which a server of this user's may have its control socket,
// best first.
func Candidates(state Choice) []string {
	dirs := []string{state.Dir}
	if own, ok := userStateDir(); ok && !state.Given && isOrdinary() {
		dirs = append(dirs, own)
	}
	return dirs
}

// Make creates dir if necessary, and checks that this process can write to it.
func Make(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return writable(dir)
}

// findServer is Find for a directory that a server has used.
func findServer(dir string) error {
	if _, err := os.Lstat(filepath.Join(dir, FileName)); err != nil {
		return err
	}
	return writable(dir)
}

// Find is Make for a directory that must exist.
func Find(dir string) error {
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	return writable(dir)
}

func writable(dir string) error {
	err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	// Root without CAP_DAC_OVERRIDE may not write to a directory that it has handed over.
	if err != nil && (isOrdinary() || !errors.Is(err, unix.EACCES)) {
		return fmt.Errorf("write to %s: %w", dir, err)
	}
	return nil
}

// ForTokens returns the state directory for a command that root may run while the directory belongs
// to another user. The process becomes that user first, so that a symbolic link in the directory
// gives no access that the user does not have. Without --state, a user gets a directory of their
// own only if a server has used it: who forgot sudo would work on the wrong server.
func ForTokens(c *cli.Context, choice Choice, use func(dir string) error) (string, error) {
	users := ""
	name, err := stateDir(choice, use, func(dir string) error {
		users = dir
		return findServer(dir)
	})
	switch {
	case users != "" && err != nil:
		return "", failure.New(failure.StepState,
			fmt.Errorf("no server's state that this user may use is in %s or %s", choice.Dir, users),
			adviceRoot)
	case err != nil:
		return "", err
	case users != "":
		_, _ = fmt.Fprintf(c.App.ErrWriter,
			"these are the tokens of your own server, in %s; those of %s are root's: use sudo\n", users,
			choice.Dir)
	}
	dir, err := openDir(name)
	if err != nil {
		return "", err
	}
	if os.Geteuid() != 0 {
		return name, errors.Join(own(dir, sandbox.User{UID: os.Geteuid(), GID: os.Getegid()}, 0),
			dir.Close())
	}
	info, err := closed(dir)
	if err != nil || info.Uid == 0 {
		return name, errors.Join(err, dir.Close())
	}
	user := sandbox.User{Name: name, UID: int(info.Uid), GID: int(info.Gid)}
	if err := sandbox.Become(user); err != nil {
		return "", failure.New(failure.StepState, err,
			"run it as the user that "+name+" belongs to")
	}
	return NameFor(c, dir, name)
}

// AsOwner calls f with a name of the state directory, which must exist, as the user that it belongs
// to: a symbolic link in it gives no access that this user does not have. Afterwards the process is
// who it was, to write where that user may not.
func AsOwner(c *cli.Context, choice Choice, f func(dir string) error) error {
	if os.Geteuid() != 0 {
		dir, err := ForTokens(c, choice, Find)
		if err != nil {
			return err
		}
		return f(dir)
	}
	name, err := stateDir(choice, Find, findServer)
	if err != nil {
		return err
	}
	dir, err := openDir(name)
	if err != nil {
		return err
	}
	info, err := closed(dir)
	if err != nil {
		_ = dir.Close()
		return err
	}
	path, err := NameFor(c, dir, name)
	if err != nil {
		return err
	}
	return sandbox.As(sandbox.User{Name: name, UID: int(info.Uid), GID: int(info.Gid)},
		func() error { return f(path) })
}

// NameFor returns a name of an open directory for a user who may not search the directories above
// it, and shows the original name in the output. It takes dir over, and keeps it open until the
// process ends.
func NameFor(c *cli.Context, dir *os.File, name string) (string, error) {
	defer func() { _ = dir.Close() }()
	fd, err := unix.FcntlInt(dir.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return "", failure.New(failure.StepState, fmt.Errorf("keep %s open: %w", name, err), "")
	}
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	for _, w := range []io.Writer{c.App.Writer, c.App.ErrWriter} {
		if r, ok := w.(*output.Stream); ok {
			r.Names.Store(&[2][]byte{[]byte(path), []byte(name)})
		}
	}
	return path, nil
}

func userStateDir() (string, bool) {
	base := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", false
		}
		base = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(base, "tunnel"), true
}
