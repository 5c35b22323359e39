package output

import (
	"context"
	"log/slog"
	"sync"
)

// heldMost is the number of records after which all are released: more than a first attempt writes.
const heldMost = 256

// HeldLog is a slog.Handler that holds information back until there is a connection: if the first
// attempt fails, its error is enough. Warnings and errors pass at once.
type HeldLog struct {
	slog.Handler

	held *heldRecords
}

type heldRecords struct {
	mu       sync.Mutex
	released bool     // guarded by mu, as is below
	waiting  []func() // each writes one record
}

// Hold returns a handler that holds the records for h until Release. It holds none if h logs debug
// records.
func Hold(h slog.Handler) *HeldLog {
	return &HeldLog{h, &heldRecords{released: h.Enabled(context.Background(), slog.LevelDebug)}}
}

// Handle implements slog.Handler.
func (h *HeldLog) Handle(ctx context.Context, r slog.Record) error {
	h.held.mu.Lock()
	defer h.held.mu.Unlock()
	if h.held.released || r.Level >= slog.LevelWarn {
		return h.Handler.Handle(ctx, r)
	}
	h.held.waiting = append(h.held.waiting,
		func() { _ = h.Handler.Handle(context.WithoutCancel(ctx), r) })
	if len(h.held.waiting) >= heldMost {
		h.held.release()
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (h *HeldLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &HeldLog{h.Handler.WithAttrs(attrs), h.held}
}

// WithGroup implements slog.Handler.
func (h *HeldLog) WithGroup(name string) slog.Handler {
	return &HeldLog{h.Handler.WithGroup(name), h.held}
}

// Release writes the held records, and lets all further ones pass.
func (h *HeldLog) Release() {
	h.held.mu.Lock()
	defer h.held.mu.Unlock()
	h.held.release()
}

// release is HeldLog.Release. The caller holds mu.
func (r *heldRecords) release() {
	r.released = true
	for _, write := range r.waiting {
		write()
	}
	r.waiting = nil
}
