package e2e

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tunnel/control"
	"tunnel/e2e/browser"
	"tunnel/e2e/lab"
)

// notForOthers has another user of the machine, for whom the path to the control socket is open,
// ask for a link: the server looks at who asks.
func notForOthers(t *testing.T, h *lab.Host, bin program, state string) {
	t.Helper()
	socket := filepath.Join(state, control.SocketName)
	// The directory of all tests is open, and sticky, which others rely on.
	for path := state; path != filepath.Clean(os.TempDir()); path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, info.Mode().Perm()|0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(path, info.Mode().Perm()) })
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	as := func(user string) (stdout, stderr string, code int) {
		return h.Try("setpriv", "--reuid", user, "--clear-groups", string(bin), "web", "--state", state)
	}
	if stdout, stderr, code := as("0"); code != 0 || !strings.Contains(stdout, "/login#") {
		t.Fatalf("root gets no link: exit code %d\n%s", code, stderr)
	}
	stdout, stderr, code := as("65533")
	if code != 18 || stdout != "" || strings.Count(stderr, "\n") != 1 ||
		!strings.Contains(stderr, "run as root") || strings.Contains(stderr, "permission denied") {
		t.Errorf("another user: exit code %d\n%s%s", code, stdout, stderr)
	}
}

// Another user of the hub's machine has a server on another port of the page's address, and a page
// there, with a picture, that the browser of a person who has logged in opens: it gets no cookie.
func TestWebPageOtherPort(t *testing.T) {
	t.Parallel()
	server, _ := direct(t)
	bin := raceBuild(t)
	state := t.TempDir()
	srv := bin.start(t, server, "serve", "--token", token, "--state", state, "--web", "127.0.0.1:8444")
	srv.WaitFor("listening on ", soon)
	var ln net.Listener
	err := server.Do(func() (err error) {
		ln, err = new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:9000")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 100)
	other := &http.Server{ReadHeaderTimeout: soon, Handler: http.HandlerFunc(func(
		w http.ResponseWriter, r *http.Request) {
		heard <- r.URL.Path + " " + r.Header.Get("Cookie") + r.Referer()
		w.Header().Set("Content-Type", "text/html")
		http.SetCookie(w, &http.Cookie{Name: "control", Value: "1", Path: "/"})
		_, _ = io.WriteString(w, "<title>other</title><img src=/s/picture><p>another page")
	})}
	go func() { _ = other.Serve(ln) }()
	defer func() { _ = other.Close() }()

	b := browser.Start(t, server, t.TempDir())
	defer b.Close()
	b.Open(bin.link(t, server, state))
	b.TabTo("Log in")
	b.Follow()
	b.Until("the overview", `live.innerText.includes("10.1.1.0/24")`)
	var at string
	b.Eval("location.href", &at)
	for range 2 {
		b.Open("http://127.0.0.1:9000/")
		b.Until("the picture", `document.images[0].complete`)
	}
	own := 0 // with that page's own cookie: the browser does send cookies here
	for range len(heard) {
		line := <-heard
		if strings.Contains(line, "control=1") {
			own++
		}
		if strings.Contains(line, "tunnel") || strings.Contains(line, "8444") {
			t.Errorf("the other port is sent %s", line)
		}
	}
	if own < 2 {
		t.Errorf("the other port has got %d of its own cookies", own)
	}
	b.Open(at)
	b.Until("the session goes on", `live.innerText.includes("10.1.1.0/24")`)
	stop(t, srv)
}
