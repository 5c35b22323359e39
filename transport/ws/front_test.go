package ws_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"tunnel/transport"
	"tunnel/transport/dial"
	"tunnel/transport/ws"
)

// The advice for a login that was refused in front of the server does not ask for a login as if
// none had been given, and nginx's answer about a client certificate is recognised.
func TestRefusedInFront(t *testing.T) {
	const login = "Basic dTpY"
	for name, test := range map[string]struct {
		header, value string
		code          int
		challenge     string
		body          string
		reason        transport.Reason
		subject       string
	}{
		"no login": {"X-Other", "x", 401, "Basic realm=x", "", transport.ReasonDoubtful,
			" (it asks for Basic)"},
		"a login": {"Authorization", login, 401, "Basic realm=x", "",
			transport.ReasonHeader, "Authorization"},
		"no proxy login": {"X-Other", "x", 407, "", "", transport.ReasonProxyFront, ""},
		"a proxy login": {"Proxy-Authorization", login, 407, "", "", transport.ReasonHeader,
			"Proxy-Authorization"},
		"no certificate": {"X-Other", "x", 400, "",
			"<title>400 No required SSL certificate was sent</title>", transport.ReasonCertWanted,
			""},
		"another complaint": {"X-Other", "x", 403, "", "<title>403 Forbidden</title>",
			transport.ReasonURL, ""},
	} {
		t.Run(name, func(t *testing.T) {
			front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter,
				_ *http.Request) {
				if test.challenge != "" {
					w.Header().Set("WWW-Authenticate", test.challenge)
				}
				w.WriteHeader(test.code)
				_, _ = io.WriteString(w, test.body)
			}))
			defer front.Close()
			u, err := url.Parse(strings.Replace(front.URL, "http", "ws", 1) + "/ws")
			if err != nil {
				t.Fatal(err)
			}
			d := ws.Dialer{Dialer: dial.Dialer{URL: u}, Token: "t",
				Header: http.Header{test.header: {test.value}}}
			_, err = d.Dial(t.Context())
			var step *transport.StepError
			if !errors.As(err, &step) || step.Reason != test.reason ||
				step.Subject != test.subject {
				t.Errorf("got %+v", step)
			}
		})
	}
}
