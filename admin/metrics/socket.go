package metrics

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// socketMode lets the socket's user and group connect. The kernel gives it the group of a directory
// that has the set-group-ID bit (inode(7)).
const socketMode = 0o660

// ownFiles has links to the files that this process has open.
const ownFiles = "/proc/self/fd"

// socket is a listener with a name in a directory. Close removes the name, also if the directory
// was moved, and closes dir.
type socket struct {
	*net.UnixListener
	dir  *os.File
	name string
}

func (s *socket) Close() error {
	err := s.UnixListener.Close()
	if !errors.Is(err, net.ErrClosed) { // else the name may be another's already
		_ = unix.Unlinkat(int(s.dir.Fd()), s.name, 0)
		_ = s.dir.Close()
	}
	return err
}

// Listen makes a Unix socket at path for those who scrape. One that a killed run has left is
// replaced.
func Listen(ctx context.Context, path string) (_ net.Listener, err error) {
	dir, err := os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = dir.Close()
		}
	}()
	// what fits into a sockaddr_un, and stays in that directory
	name := filepath.Join(ownFiles, strconv.Itoa(int(dir.Fd())), filepath.Base(path))
	if err := clear(ctx, name); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: restrict}
	ln, err := config.Listen(ctx, "unix", name)
	if err != nil {
		return nil, cmp.Or(errors.Unwrap(err), err) // without the name
	}
	unixListener, ok := ln.(*net.UnixListener)
	if !ok {
		_ = ln.Close()
		return nil, fmt.Errorf("%T is no Unix socket", ln)
	}
	unixListener.SetUnlinkOnClose(false)
	s := &socket{unixListener, dir, filepath.Base(path)}
	if err := open(name); err != nil {
		_ = s.Close()
		return nil, err
	}
	return s, nil
}

// clear removes a socket that nobody answers at.
func clear(ctx context.Context, name string) error {
	switch info, err := os.Lstat(name); {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("a file that is not a socket is in the way")
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", name)
	if err == nil {
		_ = conn.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return unix.EADDRINUSE
	}
	return os.Remove(name)
}

// restrict gives a socket that has no name yet the mode that its file gets (unix_bind), less the
// umask: it has none that is wider even for a moment.
func restrict(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), socketMode) })
	return errors.Join(err, failed)
}

// open gives the socket socketMode whatever the umask is. It follows no link that another process
// has put in its place.
func open(name string) error {
	file, err := os.OpenFile(name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err != nil || info.Mode().Type() != fs.ModeSocket {
		return errors.New("another process has replaced the socket")
	}
	return os.Chmod(filepath.Join(ownFiles, strconv.Itoa(int(file.Fd()))), socketMode)
}
