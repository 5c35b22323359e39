package server

import (
	"context"
	"log/slog"
	"testing"
)

// What runs beside the sessions runs again after a panic.
func TestKeepRunning(t *testing.T) {
	s := &Server{Config: Config{Log: slog.New(slog.DiscardHandler)}}
	runs := 0
	s.keepRunning(t.Context(), func(context.Context) {
		if runs++; runs < 3 {
			panic("a defect")
		}
	})
	if runs != 3 || s.defects.Count() != 2 {
		t.Errorf("%d runs, %d defects", runs, s.defects.Count())
	}
}
