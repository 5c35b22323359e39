package statedir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"tunnel/cli/failure"
	"tunnel/control"
	"tunnel/privsep/sandbox"
	"tunnel/state"
)

// Examine returns why a run as the user owner would not take a state directory, nil if it would or
// if there is none yet. It is Open without a change.
func Examine(name string, owner sandbox.User, other int) error {
	dir, err := openDir(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	var info unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &info); err != nil {
		return failure.New(failure.StepState, fmt.Errorf("examine %s: %w", name, err), Advice)
	}
	ours, others, err := list(dir)
	switch uid := int(info.Uid); {
	case err != nil && !errors.Is(err, unix.EACCES):
		return failure.New(failure.StepState, err, Advice)
	case info.Mode&0o022 != 0 && (info.Mode&unix.S_ISVTX == 0 || len(ours)+len(others) > 0):
		return failure.New(failure.StepState, fmt.Errorf("%s may be written to by other users "+
			"(mode %04o)", name, info.Mode&0o7777), "`chmod go-w` it, or give another one with --state DIR")
	case uid != owner.UID && uid != 0 && uid != other:
		return failure.New(failure.StepState, foreign(dir, uid), adviceOwn(dir, owner))
	case uid == 0 && owner.UID != 0 && os.Geteuid() == 0:
		if !slices.ContainsFunc(ours, distinctive) {
			others = append(others, ours...)
		}
		if len(others) > 0 {
			return failure.New(failure.StepState, fmt.Errorf("%s is not a state directory: it has %s, "+
				"which is not of this program", name, others[0]), adviceOwn(dir, owner))
		}
	}
	err = state.Check(filepath.Join(name, FileName))
	if err != nil && !errors.Is(err, os.ErrPermission) { // its user may read it
		return err
	}
	socket, err := os.Lstat(filepath.Join(name, control.SocketName))
	if err == nil && socket.Mode().Type() != os.ModeSocket {
		return failure.New(failure.StepState, fmt.Errorf("%s is not a socket: `tunnel token` would "+
			"not reach a server", filepath.Join(name, control.SocketName)), "move it away")
	}
	return nil
}
