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
	"tunnel/config"
)

// Metrics implements Machine. End removes a Unix socket, if closing the listener has not.
func (d *direct) Metrics(ctx context.Context) (net.Listener, error) {
	told := d.now().Common.Metrics
	if told == "" {
		return nil, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.metrics != nil {
		return nil, errors.New("refused: the socket of --metrics is made once")
	}
	//nolint:contextcheck // it reads /etc/services
	network, address, err := config.MetricsAddress(told)
	if err != nil {
		return nil, failure.Usage("--metrics%w", err)
	}
	if network == "unix" {
		d.metrics, err = metrics.Listen(ctx, address)
	} else {
		d.metrics, err = listen(ctx, flagMetrics, address, false)
	}
	var said *failure.Failure
	switch {
	case err == nil || errors.As(err, &said):
	case errors.Is(err, unix.EADDRINUSE):
		err = failure.New(failure.StepListen, fmt.Errorf("%s is in use", told),
			"end what listens there, or choose another --metrics")
	default:
		err = failure.New(failure.StepListen, fmt.Errorf("%s: %w", told, err),
			"choose another --metrics")
	}
	return d.metrics, err
}

// OpenMetrics implements privsep.Machine. This process keeps no listener but that of a Unix socket.
func (d *direct) OpenMetrics(ctx context.Context) (*os.File, error) {
	ln, err := d.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	of, ok := ln.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, errors.New("refused: there is no --metrics")
	}
	if _, is := ln.(*net.TCPListener); is {
		defer func() { _ = ln.Close() }()
	}
	return of.File()
}

// Metrics implements Machine.
func (h *confined) Metrics(ctx context.Context) (net.Listener, error) {
	if h.now().Common.Metrics == "" {
		return nil, nil
	}
	return h.Worker.Metrics(ctx)
}
