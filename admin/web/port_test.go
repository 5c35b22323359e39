package web

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// serve serves a page, and returns where.
func serve(t *testing.T, p *Page) (address string) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan struct{})
	go func() { p.Serve(ctx, ln); close(served) }()
	t.Cleanup(func() { cancel(); <-served })
	return ln.Addr().String()
}

// Another user of the machine has a server on another port of the page's address, and a page there
// that a logged-in browser opens: the browser sends it no cookie, whatever it asks for there. With
// a cookie alone, or a path alone, nobody gets in.
func TestOtherPort(t *testing.T) {
	var got []string // cookies and referrers
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Cookie")+r.Referer())
	}))
	defer other.Close()
	p := newPage(newHub(1))
	page := "http://" + serve(t, p)
	jar, err := cookiejar.New(nil) // as browsers do, by host and path (RFC 6265)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	defer client.CloseIdleConnections()
	send := func(method, to, form string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), method, to, strings.NewReader(form))
		if err != nil {
			t.Fatal(err)
		}
		if method == http.MethodPost {
			r.Header.Set("Origin", page)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		return answer
	}
	in := send(http.MethodPost, page+"/login", url.Values{"code": {p.Code()}}.Encode())
	if in.StatusCode != http.StatusOK || !strings.HasPrefix(in.Request.URL.Path, "/s/") {
		t.Fatalf("login: %s, %s", in.Status, in.Request.URL)
	}
	if len(jar.Cookies(in.Request.URL)) != 1 {
		t.Fatal("the browser has no cookie")
	}
	for _, path := range []string{"/", "/login", "/s/", "/s/x/", "/live", "/tokens", "/s",
		"/s/" + strings.Repeat("A", 43) + "/"} {
		send(http.MethodGet, other.URL+path, "")
	}
	if len(got) != 8 || strings.Join(got, "") != "" {
		t.Errorf("the other port gets %q", got)
	}
	if answer := send(http.MethodGet, in.Request.URL.String(), ""); answer.Request.URL.Path !=
		in.Request.URL.Path {
		t.Errorf("the page itself gets no cookie: %s", answer.Request.URL)
	}

	one, two := loggedIn(t, p), loggedIn(t, p)
	for name, b := range map[string]*browser{
		"the path of another session": {cookie: one.cookie, place: two.place},
		"a part of the path":          {cookie: one.cookie, place: one.place[:42]},
		"no path":                     {cookie: one.cookie, place: "x"},
		"no cookie":                   {place: one.place},
	} {
		b.t, b.handler = t, p.handler()
		if r := b.send(http.MethodGet, "/live", nil); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, r.StatusCode)
		}
	}
}
