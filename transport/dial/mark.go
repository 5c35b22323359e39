package dial

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Control returns what net.Dialer.Control does to give a socket a mark (SO_MARK in socket(7)), by
// which rules and firewalls know the tunnel's own packets. It needs CAP_NET_ADMIN. With the mark 0
// it returns nil.
func Control(mark uint32) func(network, address string, raw syscall.RawConn) error {
	if mark == 0 {
		return nil
	}
	return func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark))
		})
		if err = errors.Join(err, failed); err != nil {
			return fmt.Errorf("mark the tunnel's own connection: %w", err)
		}
		return nil
	}
}
