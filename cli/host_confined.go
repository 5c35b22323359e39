package cli

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"

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

// renamer gives the state directory the name that a person knows.
type renamer struct {
	w     io.Writer
	names atomic.Pointer[[2][]byte] // ours, a person's
}

func (r *renamer) Write(b []byte) (int, error) {
	text := b
	if names := r.names.Load(); names != nil {
		text = bytes.ReplaceAll(b, names[0], names[1])
	}
	if _, err := r.w.Write(text); err != nil {
		return 0, err
	}
	return len(b), nil
}

// orphan ends a worker whose parent has ended.
func orphan(err error) {
	_, _ = fmt.Fprintf(os.Stderr, "tunnel: internal: %v\n", privsep.Lost(err))
	os.Exit(1)
}
