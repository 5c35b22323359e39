package server_test

import (
	"strings"
	"testing"

	"tunnel/auth"
	"tunnel/server"
)

// What a proxy in front has removed from a client's request is logged, for a right token only, and
// not answered.
func TestProxyRemovesHeaders(t *testing.T) {
	without := func(header string) string {
		var kept []string
		for _, line := range strings.SplitAfter(upgrade, "\n") {
			if !strings.HasPrefix(line, header+":") {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "")
	}
	wsWithout := func(header string) string { return "GET /ws HTTP/1.1\n" + without(header) }
	for name, test := range map[string]struct {
		request string
		missing string // "" logs nothing
	}{
		"Upgrade":             {wsWithout("Upgrade") + bearer, "Upgrade"},
		"Upgrade, own header": {wsWithout("Upgrade") + own, "Upgrade"},
		"both": {
			"GET /ws HTTP/1.0\nHost: h\nConnection: close\n" + bearer, "Upgrade",
		},
		"Connection": {wsWithout("Connection") + bearer, "Connection"},
		"the subprotocol": {
			wsWithout("Sec-WebSocket-Protocol") + bearer, "Sec-WebSocket-Protocol",
		},
		"HTTP/1.0":          {"GET /ws HTTP/1.0\n" + upgrade + bearer, "HTTP/1.1"},
		"Upgrade, no token": {wsWithout("Upgrade"), ""},
		"Upgrade, a wrong token": {
			wsWithout("Upgrade") + "Authorization: Bearer wrong-horse-battery\n", "",
		},
		"Upgrade, another path":     {"GET /other HTTP/1.1\n" + without("Upgrade") + bearer, ""},
		"Upgrade, another method":   {"HEAD /ws HTTP/1.1\n" + without("Upgrade") + bearer, ""},
		"Upgrade, no auth, scanner": {"GET /ws HTTP/1.1\nHost: h\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, "10.1.1.0/24", func(c *server.Config) {
				if strings.Contains(name, "no auth") {
					c.Auth = auth.AllowAll{}
				}
			})
			if response, _ := h.ask(test.request + "\n"); response.StatusCode != 404 {
				t.Errorf("answered %s", response.Status)
			}
			h.drops() // stops it
			log := string(h.Log.Text())
			if want := `"missing":"` + test.missing + `"`; strings.Contains(log,
				`"missing":`) != (test.missing != "") || test.missing != "" &&
				!strings.Contains(log, want) {
				t.Errorf("want %s in the log\n%s", want, log)
			}
		})
	}
	h := serve(t, "10.1.1.0/24", nil)
	for range 50 {
		h.ask(wsWithout("Upgrade") + bearer + "\n")
	}
	h.drops()
	if n := strings.Count(string(h.Log.Text()), `"missing":`); n < 1 || n > 10 {
		t.Errorf("%d lines about 50 requests", n)
	}
}
