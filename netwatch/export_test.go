package netwatch

import "golang.org/x/sys/unix"

// Parse is parse.
var Parse = parse

// Shrink gives w a buffer in the kernel that a few messages fill.
func Shrink(w *Watcher) error {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(
		func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 2048)
		})
	if err != nil {
		return err
	}
	return failed
}
