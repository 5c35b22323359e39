package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"tunnel/privsep"
	"tunnel/route"
)

// What to do about a state directory.
const (
	stateAdvice   = "give a directory that you may write to with --state DIR"
	stateOfServer = "give the server's with --state DIR"
)

// stateChoice is the directory of --state.
type stateChoice struct {
	dir   string
	given bool // by a person, and not the default
}

// state returns the choice of an invocation.
func (i *invocation) state() stateChoice {
	return stateChoice{i.common.State, i.common.From.Given(flagState)}
}

// chosenState returns that of a command with a flag of its own.
func chosenState(c *cli.Context) stateChoice {
	return stateChoice{c.String(flagState), c.IsSet(flagState)}
}

// openState opens the directory for what is kept between runs with O_PATH, and returns its name as well. It is made with
// mode 0700 if there is none. It must belong to owner: one of root or of the user other is handed over, and any other is
// refused. Without --state, a user who may not write to the default gets one of their own (XDG Base Directory Specification).
func openState(state stateChoice, owner privsep.User, other int) (*os.File, string, error) {
	name, err := stateDir(state, makeDir)
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

// stateDir returns the name of the directory of --state, or in its place that of the user, after use has
// made or found it.
func stateDir(state stateChoice, use func(dir string) error) (string, error) {
	name := state.dir
	err := use(name)
	own, ok := userStateDir()
	if ok && !state.given && isOrdinary() && (errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist)) {
		name, err = own, use(own)
	}
	if err != nil {
		return "", stateFailure(name, err)
	}
	return name, nil
}

// isOrdinary reports whether this process is not root, or root of a user namespace only, to which root's
// directories may be closed.
func isOrdinary() bool { return os.Geteuid() != 0 || route.InUserNamespace() }

// stateFailure says what to do when a state directory cannot be used.
func stateFailure(name string, err error) error {
	advice := stateAdvice
	switch {
	case errors.Is(err, unix.EROFS):
		advice = "mount a volume at " + name + ", in Docker with --volume NAME:" + name + ", or a tmpfs if nothing is to be kept, or " + advice
	case errors.Is(err, os.ErrNotExist):
		advice = stateOfServer
	}
	return fail(stepState, err, advice)
}

func openDir(name string) (*os.File, error) {
	dir, err := os.OpenFile(name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fail(stepState, err, stateAdvice)
	}
	return dir, nil
}

// own makes sure that the directory is the owner's alone.
func own(dir *os.File, owner privsep.User, other int) error {
	info, err := closed(dir)
	if err != nil {
		return err
	}
	root := os.Geteuid() == 0
	switch uid := int(info.Uid); {
	case !root && (uid == owner.UID || uid == 0): // one of root's that this user may write to has an access list
		return nil
	case !root:
		return fail(stepState, foreign(dir, uid), "give a directory of your own with --state DIR")
	case uid != owner.UID && uid != 0 && uid != other:
		return fail(stepState, foreign(dir, uid),
			fmt.Sprintf("`chown -R %d:%d %s` if it is to be this server's or client's, or give another one with --state DIR",
				owner.UID, owner.GID, shellQuote(dir.Name())))
	}
	if err := handOver(dir, owner, other); errors.Is(err, unix.EPERM) {
		return fail(stepState, fmt.Errorf("give %s to the user %s: %w", dir.Name(), owner.Name, err),
			fmt.Sprintf("add the capability CHOWN, or have it be `chown -R %d:%d %s` before",
				owner.UID, owner.GID, shellQuote(dir.Name())))
	} else if err != nil {
		return fail(stepState, fmt.Errorf("give %s to the user %s: %w", dir.Name(), owner.Name, err),
			"give a directory of its own with --state DIR")
	}
	return nil
}

func foreign(dir *os.File, uid int) error {
	return fmt.Errorf("%s belongs to another user (uid %d)", dir.Name(), uid)
}

// closed makes sure that only its owner can put files into a directory.
func closed(dir *os.File) (info unix.Stat_t, err error) {
	if err := unix.Fstat(int(dir.Fd()), &info); err != nil {
		return info, fail(stepState, fmt.Errorf("examine %s: %w", dir.Name(), err), stateAdvice)
	}
	if info.Mode&0o022 != 0 && !closeEmpty(dir, info) {
		return info, fail(stepState, fmt.Errorf("%s may be written to by other users (mode %04o)", dir.Name(), info.Mode&0o7777),
			"`chmod go-w` it, or give another one with --state DIR")
	}
	return info, nil
}

// closeEmpty takes a sticky directory of this user's, as Docker's --tmpfs makes it, from others. It reports
// whether nothing was in it: nothing can have been put there since.
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
		return false // it is perhaps no state directory: it stays as it is
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

// makeDir makes sure that dir is a directory, and that this process can write to it.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return writable(dir)
}

// findDir is makeDir for a directory that must be there.
func findDir(dir string) error {
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	return writable(dir)
}

func writable(dir string) error {
	err := unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	// Root without CAP_DAC_OVERRIDE may not write to what it has handed over.
	if err != nil && (isOrdinary() || !errors.Is(err, unix.EACCES)) {
		return fmt.Errorf("write to %s: %w", dir, err)
	}
	return nil
}

// tokenDir returns the state directory for a command that may be root's while the directory is another user's: it becomes
// that user first, so that a link that the user has put there leads nowhere that the user could not go.
func tokenDir(c *cli.Context, use func(dir string) error) (string, error) {
	name, err := stateDir(chosenState(c), use)
	if err != nil {
		return "", err
	}
	dir, err := openDir(name)
	if err != nil {
		return "", err
	}
	if os.Geteuid() != 0 {
		return name, errors.Join(own(dir, privsep.User{UID: os.Geteuid(), GID: os.Getegid()}, 0), dir.Close())
	}
	info, err := closed(dir)
	if err != nil || info.Uid == 0 {
		return name, errors.Join(err, dir.Close())
	}
	if err := privsep.Become(privsep.User{Name: name, UID: int(info.Uid), GID: int(info.Gid)}); err != nil {
		return "", fail(stepState, err, "run it as the user that "+name+" belongs to")
	}
	return nameFor(c, dir, name)
}

// nameFor returns a name of an open directory for a user who may not get to it by its own, and has that one shown to people.
// It takes dir over, and keeps it open for as long as the process lives.
func nameFor(c *cli.Context, dir *os.File, name string) (string, error) {
	defer func() { _ = dir.Close() }()
	fd, err := unix.FcntlInt(dir.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return "", fail(stepState, fmt.Errorf("keep %s open: %w", name, err), "")
	}
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	for _, w := range []io.Writer{c.App.Writer, c.App.ErrWriter} {
		if r, ok := w.(*renamer); ok {
			r.names.Store(&[2][]byte{[]byte(path), []byte(name)})
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
