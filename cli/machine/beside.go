package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"tunnel/admin/metrics"
	"tunnel/cli/failure"
	"tunnel/config/location"
)

// ListenAt implements Machine. End removes a Unix socket, if closing the listener has not.
func (d *direct) ListenAt(ctx context.Context, flag string) (ln net.Listener, err error) {
	told := d.now().ListensAt(flag)
	if told == "" {
		return nil, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.beside[flag] != nil {
		return nil, fmt.Errorf("refused: the socket of --%s is made once", flag)
	}
	//nolint:contextcheck // it reads /etc/services
	network, address, err := location.ListenAt(told)
	if err != nil {
		return nil, failure.Usage("--%s%w", flag, err)
	}
	if network == "tcp" {
		ln, err = listen(ctx, flag, address, false)
	} else if ln, err = metrics.Listen(ctx, address); err != nil {
		advice := "choose another --" + flag
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, failure.New(failure.StepListen, fmt.Errorf("%s is in use", told),
				"end what listens there, or "+advice)
		}
		return nil, failure.New(failure.StepListen, fmt.Errorf("%s: %w", told, err), advice)
	}
	if err == nil {
		d.beside[flag] = ln
	}
	return ln, err
}

// openAt is OpenListener of a flag. This process keeps no listener but that of a Unix socket.
func (d *direct) openAt(ctx context.Context, flag string) (*os.File, error) {
	ln, err := d.ListenAt(ctx, flag)
	if err != nil {
		return nil, err
	}
	of, ok := ln.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("refused: there is no --%.20s", flag)
	}
	if _, is := ln.(*net.TCPListener); is {
		defer func() { _ = ln.Close() }()
	}
	return of.File()
}

// ListenAt implements Machine.
func (h *confined) ListenAt(ctx context.Context, flag string) (net.Listener, error) {
	if h.now().ListensAt(flag) == "" {
		return nil, nil
	}
	return h.Worker.ListenAt(ctx, flag)
}
