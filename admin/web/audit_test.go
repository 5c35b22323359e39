package web

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"tunnel/admin/audit"
)

// What the page changes is in the audit log, with where it was changed from; what fails is not. The
// log is shown with the newest first, and a filter.
func TestTrail(t *testing.T) {
	h := newHub(1)
	p := newPage(h)
	b := loggedIn(t, p)
	token := csrf(t, b.see("/tokens"))
	for path, names := range map[string][]string{"/tokens": {"phone", "taken", ""},
		"/tokens/laptop/revoke": {""}, "/tokens/nobody/revoke": {""}} {
		for _, name := range names {
			b.send(http.MethodPost, path, url.Values{"csrf": {token}, "name": {name}})
		}
	}
	if len(h.entries) != 2 {
		t.Fatalf("recorded %+v", h.entries)
	}
	for _, e := range h.entries {
		want := map[audit.Event]string{audit.TokenCreated: "phone", audit.TokenRevoked: "laptop"}
		if e.Token != want[e.Event] || e.Remote != "192.0.2.1:1234" ||
			e.Reason != "by the web page, session "+p.logins.sessions[0].id || e.UID != nil {
			t.Errorf("recorded %+v", e)
		}
	}
	uid := uint32(1000)
	h.entries = append(h.entries, audit.Entry{Event: audit.Kicked, UID: &uid, Token: "<script>"},
		audit.Entry{Event: audit.SessionEnded, Token: "desk", Reason: "closed",
			End: audit.EndOf(time.Now().Add(-time.Minute), 1<<20, 2<<20, 0)})
	text := b.see("/audit")
	for _, want := range []string{"token created", "token revoked", "uid 1000", "&lt;script&gt;",
		"closed; after 1m0s; 2.0 MiB in, 1.0 MiB out"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
	if strings.Index(text, "session ended") > strings.Index(text, "kicked") {
		t.Error("the newest is not the first")
	}
	if text := b.see("/audit?q=DESK"); strings.Count(text, `<th scope="row">`) != 1 {
		t.Errorf("the filter leaves\n%s", text)
	}
	out := &browser{t: t, handler: b.handler, place: b.place}
	if r := out.send(http.MethodGet, "/audit", nil); r.StatusCode != http.StatusSeeOther {
		t.Errorf("without a login: %d", r.StatusCode)
	}
}
