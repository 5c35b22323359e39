package remote

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"tunnel/doctor"
	"tunnel/transport"
	"tunnel/transport/dial"
)

func TestIsPublic(t *testing.T) {
	for name, want := range map[string]bool{"vpn.example.com": true, "Bücher.de": true, "com": false,
		"host": false, "nas.lan": false, "hub.corp": false, "x.internal": false, "co.uk": false} {
		if got := isPublicName(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for addr, want := range map[string]bool{"203.0.113.1": true, "2001:db8::1": true,
		"10.0.0.1": false, "100.64.3.2": false, "127.0.0.1": false, "0.0.0.0": false,
		"fe80::1": false, "fd00::1": false, "::": false, "169.254.1.1": false} {
		if got := isPublicAddr(netip.AddrPortFrom(netip.MustParseAddr(addr), 443)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

// A doubtful name is no failure as long as all works.
func TestAccuse(t *testing.T) {
	for _, then := range []doctor.Verdict{doctor.OK, doctor.Warn, doctor.Fail} {
		p := &path{found: []doctor.Finding{{Verdict: doctor.Warn, Problem: doctor.NameLies},
			{Verdict: then, Problem: doctor.NoAnswer}}}
		want := doctor.Warn
		if then == doctor.Fail {
			want = doctor.Fail
		}
		if p.accuse(); p.found[0].Verdict != want {
			t.Errorf("before %s: %s", then, p.found[0].Verdict)
		}
	}
}

func TestAnswers(t *testing.T) {
	at, err := url.Parse("wss://hub.example/ws")
	if err != nil {
		t.Fatal(err)
	}
	p := &path{Server: Server{Dialer: dial.Dialer{URL: at}}}
	for _, test := range []struct {
		code          int
		name, value   string
		portal, drops bool
	}{
		{302, "Location", "http://login.example/", true, false},
		{302, "Location", "https://hub.example/ui", false, false},
		{302, "Location", "/login", false, false},
		{511, "", "", true, false},
		{200, "Content-Type", "text/html; charset=utf-8", true, false},
		{200, "Content-Type", "application/json", false, false},
		{404, "", "", false, false}, // the server's own
		{404, "Server", "nginx", false, true},
		{400, "Via", "1.1 squid", false, true},
		{426, "", "", false, true},
		{502, "Server", "nginx", false, false},
	} {
		answer := &http.Response{StatusCode: test.code, Header: http.Header{}}
		answer.Header.Set(test.name, test.value)
		if portal, drops := p.isPortal(answer), dropsUpgrade(answer); portal != test.portal ||
			drops != test.drops {
			t.Errorf("%d %s %s: portal %v, drops %v", test.code, test.name, test.value, portal, drops)
		}
	}
}

func TestWrongBy(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for off, want := range map[time.Duration]string{
		-90 * time.Minute: "90 minutes: it says 2026-03-01 12:00, and is behind",
		5 * time.Hour:     "5 hours: it says 2026-03-01 12:00, and is ahead",
		-800 * time.Hour:  "33 days: it says 2026-03-01 12:00, and is behind",
	} {
		want = "this machine's clock is wrong by " + want + " of the server, which says " +
			day(now.Add(-off))
		if got := wrongBy(now, now.Add(-off)); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// The name of a proxy that does not resolve is said to be a proxy's.
func TestNoNameOfProxy(t *testing.T) {
	p := &path{Server: Server{ProxyFrom: "HTTPS_PROXY"}, proxy: &url.URL{Host: "proxy.example:3128"}}
	p.noName("the proxy proxy.example", &transport.StepError{Step: transport.StepName,
		Err: errors.New("no such host")})
	const want = "the proxy proxy.example, from HTTPS_PROXY: no such host (no name server was asked)"
	if len(p.found) != 1 || p.found[0].Saw != want {
		t.Errorf("%+v; want %s", p.found, want)
	}
}
