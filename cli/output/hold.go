package cli

import (
	"context"
	"log/slog"
	"sync"
)

// heldMost is how many records are held before all are released: more than a first attempt writes.
const heldMost = 256

// heldLog is a slog.Handler that holds back what is only worth reading once there is a connection: of a first attempt that
// fails the error says all. Warnings and errors pass at once.
type heldLog struct {
	slog.Handler

	held *heldRecords
}

type heldRecords struct {
	mu       sync.Mutex
	released bool     // guarded by mu, as is below
	waiting  []func() // each writes one record
}

// holdLog returns a handler that holds the records for h until release is called. Of a log with debug lines nothing is held.
func holdLog(h slog.Handler) *heldLog {
	return &heldLog{h, &heldRecords{released: h.Enabled(context.Background(), slog.LevelDebug)}}
}

// Handle implements slog.Handler.
func (h *heldLog) Handle(ctx context.Context, r slog.Record) error {
	h.held.mu.Lock()
	defer h.held.mu.Unlock()
	if h.held.released || r.Level >= slog.LevelWarn {
		return h.Handler.Handle(ctx, r)
	}
	h.held.waiting = append(h.held.waiting, func() { _ = h.Handler.Handle(context.WithoutCancel(ctx), r) })
	if len(h.held.waiting) >= heldMost {
		h.held.release()
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (h *heldLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &heldLog{h.Handler.WithAttrs(attrs), h.held}
}

// WithGroup implements slog.Handler.
func (h *heldLog) WithGroup(name string) slog.Handler {
	return &heldLog{h.Handler.WithGroup(name), h.held}
}

// release writes what was held, and lets all that follows pass.
func (h *heldLog) release() {
	h.held.mu.Lock()
	defer h.held.mu.Unlock()
	h.held.release()
}

// release is heldLog.release. The caller holds mu.
func (r *heldRecords) release() {
	r.released = true
	for _, write := range r.waiting {
		write()
	}
	r.waiting = nil
}
