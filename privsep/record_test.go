package privsep_test

import (
	"errors"
	"strings"
	"testing"

	"tunnel/admin/audit"
	"tunnel/privsep"
)

const entry = `{"time":"2026-01-01T00:00:00Z","event":"kicked","uid":7,"token":"office"}`

// TestRecord has entries of the audit log kept.
func TestRecord(t *testing.T) {
	h := newHost(t)
	code, answers, err := run(t, h, "sends", device,
		`{"id":2,"kind":"record","entries":[`+entry+`,`+entry+`]}`)
	if code != workerCode || err != nil || !strings.HasSuffix(answers, `{"id":2}`+"\n") {
		t.Fatalf("%d, %v, %s", code, err, answers)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.entries) != 2 || h.entries[1].Token != "office" || *h.entries[1].UID != 7 {
		t.Errorf("%+v", h.entries)
	}
}

// A worker that records more at once than any does was broken into.
func TestRecordTooMany(t *testing.T) {
	h := newHost(t)
	many := strings.TrimSuffix(strings.Repeat(entry+",", audit.MaxBatch+1), ",")
	_, _, err := run(t, h, "sends", device, `{"id":2,"kind":"record","entries":[`+many+`]}`)
	if !errors.Is(err, privsep.ErrProtocol) {
		t.Errorf("%v", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.entries) > 0 {
		t.Errorf("%d entries", len(h.entries))
	}
}
