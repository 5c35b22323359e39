package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"tunnel/e2e/browser"
	"tunnel/e2e/lab"
)

// shotsEnv names a directory for screenshots of the web page, for a person to look at.
const shotsEnv = "E2E_SHOTS"

// openBrowser starts a browser on a host, and at the end of the test checks that it has asked
// nobody but origin, and that its console has shown nothing but allowed lines.
func openBrowser(t *testing.T, h *lab.Host, origin string) *browser.Browser {
	t.Helper()
	b := browser.Start(t, h, t.TempDir())
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		for _, url := range b.Requests() {
			if !strings.HasPrefix(url, origin+"/") && url != "about:blank" {
				t.Errorf("the page asks %s", url)
			}
		}
		for _, text := range b.Errors() {
			t.Errorf("in the browser's console: %s", text)
		}
		b.Close()
	})
	return b
}

// link returns a link of `tunnel web`.
func (p program) link(t *testing.T, h *lab.Host, state string) string {
	t.Helper()
	return strings.TrimSpace(h.Run(string(p), "web", "--state", state))
}

// sound fails the test if a page is hard to use in light or dark, on a large or a small screen.
func sound(t *testing.T, b *browser.Browser, name string) {
	t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		for size, width := range map[string]int{"wide": 1280, "slim": 360} {
			b.Look(width, 900, scheme)
			for _, wrong := range b.Audit() {
				t.Errorf("%s, %s, %s: %s", name, scheme, size, wrong)
			}
			if dir := os.Getenv(shotsEnv); dir != "" {
				b.Screenshot(filepath.Join(dir, name+"-"+scheme+"-"+size+".png"))
			}
		}
	}
	b.Look(1280, 900, "light")
}

// TestWebPage uses the page of a hub as a person with a keyboard does, in a real browser: logs in
// by a link, makes a token, has a client join by the line that is shown, sees it and what it sends,
// revokes the token, and sees it go.
func TestWebPage(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	bin := raceBuild(t)
	state := t.TempDir()
	const origin = "http://127.0.0.1:8444"
	srv := bin.start(t, server, "serve", "--state", state, "--public", directServer, "--web",
		"localhost:8444", "--client-to-client", "--push-route", "192.168.50.0/24")
	first := bin.paste(t, clients[1], srv.WaitFor("tunnel connect ", soon), "")
	first.WaitFor("up: ", soon)

	b := openBrowser(t, server, origin)
	b.Open(origin)
	if text := b.Text(); !strings.Contains(text, "sudo tunnel web") {
		t.Errorf("without a login:\n%s", text)
	}
	sound(t, b, "login")
	link := bin.link(t, server, state)
	if !strings.HasPrefix(link, origin+"/login#") {
		t.Fatalf("the link is %s", link)
	}
	b.Open("about:blank")
	b.Open(link)
	var address string
	if b.Eval("location.href", &address); address != origin+"/login" {
		t.Errorf("the code stays in the address: %s", address)
	}
	b.TabTo("Log in")
	b.Follow()
	b.Until("the client that is connected", `live.innerText.includes("10.1.1.3")`)
	if all := b.Cookies(); len(all) != 1 || !regexp.MustCompile(
		"^tunnel /s/[A-Za-z0-9_-]{43}/ Strict HttpOnly$").MatchString(all[0]) {
		t.Errorf("the cookies are %q", all)
	}
	// Browsers try ::1 first for this name, where any user may listen.
	if got := asked(server, "-H", "Host: localhost:8444", origin+"/login"); !strings.HasSuffix(got,
		"\n421") {
		t.Errorf("Host: localhost: %s", got)
	}

	b.TabTo("Tokens")
	b.Follow()
	b.TabTo("Name")
	b.Type("office")
	b.TabTo("Networks behind it (optional)")
	b.Type("192.168.7.0/24")
	b.TabTo("Make token")
	b.Follow()
	var line string
	b.Eval(`document.getElementById("line").textContent`, &line)
	sound(t, b, "made")
	client := bin.paste(t, clients[0], line, "")
	client.WaitFor("up: ", soon)

	b.TabTo("Overview")
	b.Follow()
	b.Eval("window.same = true", nil)
	b.TabTo("Filter clients")
	b.Type("OFFI")
	b.Until("the filter leaves one client",
		`document.querySelectorAll("#live tbody th small").length === 1`)
	b.Until("a round trip", `/office[^]*ms/.test(live.innerText)`)
	seen := map[string]bool{}
	for len(seen) < 4 {
		sendFile(t, clients[0], server, "10.1.1.1", 4<<20)
		var in string
		b.Until("a rate", `/bit/.test(document.querySelector(".tiles .in dd").textContent)`)
		if b.Eval(`document.querySelector(".tiles .in dd").textContent`, &in); in != "0 bit/s" {
			seen[in] = true
		}
	}
	b.Until("the chart", `document.querySelector(".chart polyline")`)
	b.Until("the same page, and the same focus", `same && document.activeElement.id === "q"`)
	b.Until("the network behind the client, and that behind the hub",
		`["192.168.7.0/24", "192.168.50.0/24", "office"].every((text) =>
			document.querySelector("svg.picture.wide").textContent.includes(text))`)
	b.TabTo("Pause")
	b.Press("Space")
	b.Until("a pause", `document.activeElement.textContent === "Resume"`)
	sound(t, b, "overview")
	b.Press("Space")

	b.TabTo("Tokens")
	b.Follow()
	sound(t, b, "tokens")
	b.TabTo("Revoke office")
	b.Follow()
	sound(t, b, "revoke")
	b.TabTo("Cancel")
	b.Follow()
	b.TabTo("Revoke office")
	b.Follow()
	b.TabTo("Revoke office")
	b.Follow()
	if code := client.Wait(soon); code != 8 {
		t.Errorf("a client whose token was revoked ends with %d", code)
	}
	if text := b.Text(); strings.Contains(text, "office") || !strings.Contains(text, "first") {
		t.Errorf("after the revocation:\n%s", text)
	}
	b.TabTo("Overview")
	b.Follow()
	b.Until("only the other client is left", `live.innerText.includes("10.1.1.3") &&
		!live.innerText.includes("office")`)

	b.TabTo("Audit")
	b.Follow()
	for _, want := range []string{"token created", "by the web page", "session started",
		"token revoked", "session ended", "office"} {
		if text := b.Text(); !strings.Contains(text, want) {
			t.Errorf("the audit log lacks %q:\n%s", want, text)
		}
	}
	sound(t, b, "audit")

	b.TabTo("Log out")
	b.Follow()
	b.Open("about:blank")
	b.Open(link)
	b.TabTo("Log in")
	b.Follow()
	if text := b.Text(); !strings.Contains(text, "This link was used already") {
		t.Errorf("the link logs in again:\n%s", text)
	}
	sound(t, b, "refused")
	if all := b.Errors(); len(all) != 1 || !strings.Contains(all[0], "403") {
		t.Errorf("in the browser's console: %q", all)
	}
	for _, secret := range []string{strings.TrimPrefix(link, origin+"/login#"),
		line[strings.LastIndex(line, " ")+1:]} {
		if len(secret) < 43 || strings.Contains(srv.Stderr(), secret) {
			t.Errorf("the log has a secret, or %q is none", secret)
		}
	}
	srv.WaitFor("web page: login refused", soon)
	stop(t, srv)
}

// TestWebPageTLS has a browser on another machine use the page by the hub's certificate; without
// TLS the page is for this machine only, and without --web there is none.
func TestWebPageTLS(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := raceBuild(t)
	state := t.TempDir()
	const origin = "https://198.51.100.1:8444"
	if _, stderr, code := server.Try(string(bin), "serve", "--plain", "--token", token, "--state",
		state, "--web", ":8444"); code != 2 || strings.Count(stderr, "\n") != 1 ||
		!strings.Contains(stderr, "give --web localhost:PORT, or leave --plain out") {
		t.Errorf("without TLS: exit code %d\n%s", code, stderr)
	}
	if _, stderr, code := server.Try(string(bin), "web", "--state", state); code != 18 ||
		strings.Count(stderr, "\n") != 1 {
		t.Errorf("without a server: exit code %d\n%s", code, stderr)
	}
	none := bin.start(t, server, "serve", "--token", token, "--state", state)
	none.WaitFor("listening on ", soon)
	if _, stderr, code := server.Try(string(bin), "web", "--state", state); code != 2 ||
		!strings.Contains(stderr, "start it with --web 127.0.0.1:8444") {
		t.Errorf("without --web: exit code %d\n%s", code, stderr)
	}
	stop(t, none)

	srv := bin.start(t, server, "serve", "--token", token, "--state", state, "--web", ":8444",
		"--public", directServer)
	pin := srv.WaitFor("tunnel connect ", soon)
	notForOthers(t, server, bin, state)
	stdout, stderr, _ := server.Try(string(bin), "web", "--state", state)
	link := strings.TrimSpace(stdout)
	if !strings.HasPrefix(link, origin+"/login#") || !strings.Contains(stderr, "fingerprint") {
		t.Fatalf("the link is %s\n%s", stdout, stderr)
	}
	b := openBrowser(t, client, origin)
	b.Open(link)
	b.TabTo("Log in")
	b.Follow()
	b.Until("the overview", `live.innerText.includes("10.1.1.0/24")`)
	if all := b.Cookies(); len(all) != 1 || !regexp.MustCompile(
		"^__Secure-tunnel /s/[A-Za-z0-9_-]{43}/ Strict HttpOnly Secure$").MatchString(all[0]) {
		t.Errorf("the cookies are %q", all)
	}
	const der = "openssl s_client -connect 198.51.100.1:8444 </dev/null 2>/dev/null | openssl x509 "
	for what, command := range map[string]string{
		"certificate": der + "-outform der | sha256sum",
		"public key":  der + "-pubkey -noout | openssl pkey -pubin -outform der | sha256sum",
	} {
		seen, _, _ := strings.Cut(client.Run("sh", "-c", command), " ")
		if want := strings.ToUpper(seen) + " (" + what + ")\n"; !strings.Contains(stderr, want) {
			t.Errorf("the fingerprint is %s; the line to join is %s, and printed was\n%s", want, pin,
				stderr)
		}
	}
	for name, want := range map[string]string{"198.51.100.1": "303", "evil.example": "421"} {
		if got := strings.TrimSpace(asked(client, "-k", "-H", "Host: "+name, origin+"/")); !strings.
			HasSuffix(got, want) {
			t.Errorf("Host: %s: %s", name, got)
		}
	}
	b.Open("about:blank")
	// Plain HTTP gets nothing, nor does it end anything.
	if got := asked(client, "http://198.51.100.1:8444/"); !strings.HasSuffix(got, "\n400") {
		t.Errorf("without TLS: %s", got)
	}
	stop(t, srv)
}

// The page shows a hub with many clients, and takes what is logged: see docs/ARCHITECTURE.md.
func TestWebPageMany(t *testing.T) {
	const many = 990
	server, client := direct(t)
	bin := plainBuild(t)
	state := t.TempDir()
	const origin = "http://127.0.0.1:8444"
	srv := bin.start(t, server, "serve", "--plain", "--token", token, "--max-sessions", "0", "--state",
		state, "--network", "10.1.0.0/20", "--web", "localhost:8444")
	srv.WaitFor("listening on ", soon)
	crowd := startCrowd(t, client, "198.51.100.1%02d", directURL, many)
	server.Run("sh", "-c", `for i in $(seq 250); do "$0" token create "many-$i" --state "$1" || exit
		done >/dev/null`, string(bin), state)
	link := bin.link(t, server, state)
	jar := filepath.Join(t.TempDir(), "cookies")
	to, _, _ := server.Try("curl", "-sS", "-m", "10", "-b", jar, "-c", jar, "-w", "%{redirect_url}",
		"-H", "Origin: "+origin, "-d", "code="+strings.TrimPrefix(link, origin+"/login#"),
		"-o", "/dev/null", origin+"/login")
	if !strings.HasPrefix(to, origin+"/s/") {
		t.Fatalf("login: %s", to)
	}
	for _, path := range []string{"/", "/live", "/live?q=10.1.5.", "/tokens"} {
		for range 5 {
			got, _, _ := server.Try("curl", "-sS", "-m", "10", "-b", jar, "-w",
				"\n%{time_total} s, %{size_download} bytes", strings.TrimSuffix(to, "/")+path)
			page, took, _ := cutLast(got, "\n")
			if path == "/" && (strings.Count(page, `<th scope="row">flag`) != 200 ||
				!strings.Contains(page, "790 more clients")) {
				t.Errorf("%s shows\n%s", path, page)
			}
			if path == "/tokens" && (strings.Count(page, `<th scope="row">`) != 200 ||
				!strings.Contains(page, "51 more tokens")) { // with that of the flag
				t.Errorf("%s shows\n%s", path, page)
			}
			t.Logf("%s: %s", path, took)
			time.Sleep(time.Second) // a new sample
		}
	}
	stop(t, crowd)
	stop(t, srv)
}

// cutLast cuts text around the last separator.
func cutLast(text, separator string) (before, after string, found bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}
