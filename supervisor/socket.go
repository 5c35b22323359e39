package supervisor

import (
	"errors"
	"fmt"
	"net"

	"github.com/coreos/go-systemd/v22/activation"
)

// Listener returns the TCP socket on which the service manager listens for this process:
// sd_listen_fds(3). It returns nil if there is none, or none any more. The caller closes it.
func Listener() (net.Listener, error) {
	files := activation.Files(true) // a second call would take other descriptors for it
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	switch len(files) {
	case 0:
		return nil, nil
	case 1:
	default:
		return nil, fmt.Errorf("the service manager has passed %d sockets; want one", len(files))
	}
	ln, err := net.FileListener(files[0])
	if err != nil {
		return nil, fmt.Errorf("the socket of the service manager: %w", err)
	}
	if _, is := ln.(*net.TCPListener); !is {
		return nil, errors.Join(
			fmt.Errorf("the socket of the service manager is a %T; want one of TCP", ln), ln.Close())
	}
	return ln, nil
}
