package machine

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"

	"tunnel/admin/audit"
	"tunnel/cli/invocation"
	"tunnel/cli/priority"
	"tunnel/cli/statedir"
	"tunnel/client"
	"tunnel/host"
	"tunnel/privsep"
	"tunnel/privsep/sandbox"
	"tunnel/tun"
)

// confined is the Machine of a worker: its parent.
type confined struct {
	*privsep.Worker

	current *invocation.Current
	user    sandbox.User
	log     *slog.Logger
}

func (h *confined) Device(ctx context.Context) (tun.Device, client.Host, error) {
	device, err := h.Worker.Device(ctx)
	return device, h.Worker, err
}

// State enters the sandbox: the worker has all that it needs, and has read nothing from the network
// yet.
func (h *confined) State(ctx context.Context) (string, error) {
	dir, name, err := h.Worker.State(ctx)
	if err != nil {
		return "", err
	}
	path, err := statedir.NameFor(h.now().CLI, dir, name)
	if err != nil {
		return "", err
	}
	connects := h.now().Serve == nil || len(h.now().Serve.ACME) > 0
	if connects {
		// crypto/x509 caches it; SSL_CERT_FILE may be readable by root only
		_, _ = x509.SystemCertPool()
	}
	priority.Take(h.log)
	if err := priority.Spread(); err != nil {
		h.log.Debug("packets have no priority over other sessions", "err", err)
	}
	if err := sandbox.Drop(h.user); err != nil {
		return "", fmt.Errorf("enter the sandbox: %w", err)
	}
	limits := sandbox.Limits{State: path, Connect: connects, Serve: h.now().Serve != nil}
	if err := sandbox.Confine(limits, h.log); err != nil {
		return "", err
	}
	return path, nil
}

func (h *confined) Hook(ctx context.Context, flag string, _ host.Address, about audit.Entry) {
	// The parent hears of each, for a reload may give it --on-down later.
	if err := h.Worker.Hook(ctx, flag, about); err != nil {
		h.log.Debug("hook", "flag", flag, "err", err)
	}
}

// Record implements Machine. Without an audit log and hooks nobody is told.
func (h *confined) Record(ctx context.Context, entries []audit.Entry) error {
	if h.now().Serve.AuditLog == "" && !h.now().Serve.Hooks() {
		return nil
	}
	return h.Worker.Record(ctx, entries)
}

// End implements Machine: the parent does it.
func (h *confined) End(_ bool, err error) error { return err }
