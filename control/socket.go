package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Socket is a control socket that has no name yet. A process whose sandbox lets it make no socket
// makes it before. Listen takes it, or Close ends it.
type Socket struct{ file *os.File }

// NewSocket makes a Socket.
func NewSocket() (*Socket, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &Socket{os.NewFile(uintptr(fd), "control")}
	// The file gets the mode of the socket (unix_bind): it has none that is wider even for a moment,
	// and the sandbox refuses chmod(2).
	if err := unix.Fchmod(fd, 0o600); err != nil {
		s.Close()
		return nil, os.NewSyscallError("fchmod", err)
	}
	return s, nil
}

// Close closes a Socket that no Listen has taken.
func (s *Socket) Close() { _ = s.file.Close() }

// Listen gives s its name in dir, whose state this process has locked: a socket that is there
// already is a killed server's. It can get no other name after that (unix_bind), and if there is an
// error it is closed. Give the listener to Serve, or close it.
func (s *Socket) Listen(dir string) (net.Listener, error) { return s.listen(dir, SocketName) }

// listen is Listen for a socket of another name.
func (s *Socket) listen(dir, socket string) (net.Listener, error) {
	defer s.Close()
	path := filepath.Join(dir, socket)
	switch info, err := os.Lstat(path); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s is in the way: it is not a socket", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	var ln net.Listener
	err := reach(dir, socket, func(name string) (err error) {
		fd := int(s.file.Fd())
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
			return os.NewSyscallError("bind", err)
		}
		if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
			return os.NewSyscallError("listen", err)
		}
		ln, err = net.FileListener(s.file)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	unixListener, ok := ln.(*net.UnixListener)
	if !ok {
		_ = ln.Close()
		return nil, fmt.Errorf("%s: %T is no Unix socket", path, ln)
	}
	return &listener{unixListener, path}, nil
}
