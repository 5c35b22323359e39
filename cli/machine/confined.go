package cli

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"

	"tunnel/client"
	"tunnel/privsep"
	"tunnel/transport"
	"tunnel/tun"
)

// confined is the host of a worker: its parent.
type confined struct {
	*privsep.Worker

	i    *invocation
	user privsep.User
	log  *slog.Logger
}

func (h *confined) Device(ctx context.Context) (tun.Device, client.Router, error) {
	device, err := h.Worker.Device(ctx)
	return device, h.Worker, err
}

// State is where the worker enters its sandbox: it has all that it needs, and has read nothing from the network.
func (h *confined) State(ctx context.Context) (string, error) {
	dir, name, err := h.Worker.State(ctx)
	if err != nil {
		return "", err
	}
	path, err := nameFor(h.i.c, dir, name)
	if err != nil {
		return "", err
	}
	connects := h.i.serve == nil || len(h.i.serve.ACME) > 0
	if connects {
		_, _ = x509.SystemCertPool() // kept by the library; SSL_CERT_FILE may be root's
	}
	takePriority(h.log)
	if err := spreadPriority(); err != nil {
		h.log.Debug("packets have no priority over other sessions", "err", err)
	}
	if err := privsep.Drop(h.user); err != nil {
		return "", fmt.Errorf("enter the sandbox: %w", err)
	}
	if err := privsep.Confine(privsep.Sandbox{State: path, Connect: connects}, h.log); err != nil {
		return "", err
	}
	return path, nil
}

func (h *confined) Hook(ctx context.Context, flag string, _ transport.Link) {
	if h.i.hook(flag) == "" {
		return
	}
	if err := h.Worker.Hook(ctx, flag); err != nil {
		h.log.Debug("hook", "flag", flag, "err", err)
	}
}
