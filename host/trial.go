package host

import (
	"context"
	"errors"
	"time"
)

// OnTrial has the kernel end a kill switch by itself at that time, even if this process can no
// longer do it, unless Confirm is called before. It is for Applys to come.
func (h *Host) OnTrial(until time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until = until
}

// Confirm ends OnTrial: a kill switch stays. After an error the trial goes on, as before a Want
// with addresses is applied: what comes with that would not be on trial.
func (h *Host) Confirm(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.held.Addresses) == 0 {
		return errors.New("too early: the client is not up, and most of its changes are to come")
	}
	until := h.until
	h.until = time.Time{}
	if h.closed || until.IsZero() || !h.sealed {
		return nil
	}
	_, err := h.setTable(ctx, h.tabled, h.guards)
	if err != nil {
		h.until = until
	}
	return err
}
