package privsep_test

import (
	"strings"
	"testing"
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
