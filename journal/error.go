package journal

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Error says that a journal cannot be read or kept, so that nothing may be added to the kernel: the
// disk of its directory, or this process's files, are used up, for example.
type Error struct {
	Err    error
	Advice string // what to do; "" if there is nothing more to say
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// explain makes an error about the journal in dir, or nil, one that says what to do.
func explain(dir string, err error) error {
	var known *Error
	if err == nil || errors.Is(err, ErrBusy) || errors.As(err, &known) {
		return err
	}
	return &Error{Err: err, Advice: adviceFor(dir, err)}
}

// adviceFor returns what to do when files cannot be written in dir; "" if err does not say.
func adviceFor(dir string, err error) string {
	switch {
	case errors.Is(err, unix.EROFS):
		return "mount a tmpfs at " + dir + ", in Docker with --tmpfs " + dir
	case isFull(err):
		return "make room on the file system of " + dir
	}
	return ""
}

// isFull reports whether err is about a file system without room.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
