package remote

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"tunnel/doctor"
	"tunnel/transport"
	"tunnel/transport/dial"
	"tunnel/transport/tcp"
	"tunnel/transport/ws"
)

// A server that upgrades and closes would do so with a session: that is a failure, with its reason
// and without the token that the reason has.
func TestClosedAtOnce(t *testing.T) {
	const secret = "SECRET-of-16-bytes"
	revoke := func(w http.ResponseWriter, r *http.Request) {
		if conn, err := ws.Accept(w, r, tcp.CongestionAuto); err == nil {
			conn.Close(transport.CodeRevoked, "the token is over: "+secret)
		}
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(revoke))
	server.Config.ConnContext = tcp.ConnContext
	server.Listener = tcp.Listener(server.Listener, nil, nil)
	server.Start()
	defer server.Close()
	u, err := url.Parse("ws" + strings.TrimPrefix(server.URL, "http") + "/ws")
	if err != nil {
		t.Fatal(err)
	}
	found := Check(t.Context(), Server{Dialer: dial.Dialer{URL: u}, Token: secret})
	at := slices.IndexFunc(found, func(f doctor.Finding) bool { return f.Verdict == doctor.Fail })
	if at < 0 || found[at].Problem != doctor.ClosedAtOnce ||
		!strings.Contains(found[at].Saw, "the token is over: …") ||
		!strings.Contains(found[at].Saw, "4003") {
		t.Errorf("found %+v", found)
	}
}
