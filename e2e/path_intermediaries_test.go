package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// nginx and HAProxy are in front of a server with frequent mistakes in their configurations: the
// client's line names the cause, and so does the server's log if the request gets that far.
func TestMisconfiguredReverseProxies(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	client.Hosts("198.51.100.1 server.example")
	ca := newAuthority(t)
	cert, key := ca.issue(t, time.Now().Add(time.Hour), "server.example")
	both := filepath.Join(t.TempDir(), "both.pem") // HAProxy needs certificate and key in one file
	if out, err := exec.CommandContext(t.Context(), "sh", "-c",
		"umask 077; cat "+cert+" "+key+" >"+both).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	passwords := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(passwords, []byte("user:{PLAIN}pass\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for d := filepath.Dir(passwords); d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const upgrade = `rewrite .* /ws break; proxy_pass http://127.0.0.1:8443; proxy_http_version 1.1;
				proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";`
	startNginx(t, server, fmt.Sprintf(`
		server { listen 80;
			location /ws { proxy_pass http://127.0.0.1:8443; }
			location /closed { auth_basic "closed area"; auth_basic_user_file %[3]s; %[5]s }
			location /noproto { proxy_set_header Sec-WebSocket-Protocol ""; %[5]s }
			location /403 { return 403; }
			location /511 { return 511; }
			location /login { return 302 http://login.example/; }
		}
		server { listen 443 ssl; ssl_certificate %[1]s; ssl_certificate_key %[2]s; %[4]s }`,
		cert, key, passwords, proxyLocation, upgrade))
	daemon(t, server, 444, `
global
	maxconn 100
defaults
	mode http
	timeout connect 5s
	timeout client 5s
	timeout server 5s
frontend all
	bind :444 ssl crt `+both+` alpn h2 proto h2
	bind :81 proto h2
	default_backend tunnel
frontend second
	bind :82
	default_backend second
frontend secure
	bind :83
	default_backend secure
backend tunnel
	server tunnel 127.0.0.1:8443
backend second
	server tunnel 127.0.0.1:8443 proto h2
backend secure
	server tunnel 127.0.0.1:8443 ssl verify none
`, "haproxy", "-db", "-f", "FILE")
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain", "--listen", "127.0.0.1:8443", "--trusted-proxy",
		"127.0.0.1")
	connect := func(url string, flags ...string) []string {
		return append([]string{"connect", url, "--token", token, "--state", t.TempDir(), "--ca",
			ca.File}, flags...)
	}
	plain := func(
		url string) []string {
		return []string{"connect", url, "--token", token, "--state", t.TempDir()}
	}
	for _, f := range []failure{
		{name: "nginx without Upgrade", args: plain("ws://server.example"), code: 7, step: "http",
			says: "pass the Upgrade header on"},
		{name: "nginx without Sec-WebSocket-Protocol", args: plain("ws://server.example/noproto"),
			code: 7, step: "http", says: "404"},
		{name: "nginx's auth_basic", args: plain("ws://server.example/closed"), code: 8,
			step: "auth", says: "not the server's own word (it asks for Basic)"},
		{name: "auth_basic, a wrong password", args: append(plain("ws://server.example/closed"),
			"--header", "Authorization=Basic dTpY"), code: 8, step: "auth",
			says: "refuses what --header Authorization"},
		{name: "HTTP/2 to the server", args: plain("ws://server.example:82"), code: 7,
			step: "http", says: "not HTTP/2"},
		{name: "TLS to the server", args: plain("ws://server.example:83"), code: 7, step: "http",
			says: "not HTTP/2"},
		{name: "nginx's 403", args: plain("ws://server.example/403"), code: 7, step: "http",
			says: "may forbid WebSockets"},
		{name: "511", args: plain("ws://server.example/511"), code: 7, step: "http",
			says: "wants a login"},
		{name: "a login page", args: plain("ws://server.example/login"), code: 7, step: "http",
			says: "sends us to http://login.example/"},
		{name: "HTTP/2 only, TLS", args: connect("wss://server.example:444"), code: 7, step: "http",
			says: "HTTP/2 only"},
		{name: "HTTP/2 only", args: plain("ws://server.example:81"), code: 7, step: "http",
			says: "HTTP/2 only"},
		{name: "plain HTTP on the port of wss", args: connect("wss://server.example:80"), code: 6,
			step: "tls", says: "speaks plain HTTP"},
		{name: "TLS on the port of ws", args: plain("ws://server.example:443"), code: 7,
			step: "http", says: "wss://"},
	} {
		f.check(t, client, bin)
	}
	for _, missing := range []string{"Upgrade", "Sec-WebSocket-Protocol"} {
		if !strings.Contains(srv.Stderr(), "missing="+missing) {
			t.Errorf("the server does not say that %s is missing\n%s", missing, srv.Stderr())
		}
	}
	for _, protocol := range []string{"TLS", "HTTP/2"} {
		says := "something speaks " + protocol + " to this port"
		if !strings.Contains(srv.Stderr(), says) {
			t.Errorf("the server does not say %s\n%s", says, srv.Stderr())
		}
	}
	// With the user's Authorization for auth_basic the token is sent in another header.
	cl := bin.connect(t, client, "ws://server.example/closed", "--header",
		"Authorization=Basic dXNlcjpwYXNz")
	reaches(t, client, "10.1.1.1")
	stop(t, cl)
	for _, secret := range []string{token, "dXNlcjpwYXNz"} {
		if strings.Contains(cl.Stderr()+srv.Stderr(), secret) {
			t.Errorf("%s is in a log", secret)
		}
	}
}

// After a client was up, another server answers 401 in the server's place, as a captive portal
// does: the client retries until the server is back. The server's own 401 ends the client.
func TestLoginPageInFront(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain", "--ping-interval", "1s")
	cl := bin.connect(t, client, directURL)
	stop(t, srv)
	page := startNginx(t, server, "server { listen 8443; location / { return 401; } }")
	cl.WaitFor("answered 401", soon)
	time.Sleep(3 * time.Second)
	if cl.Exited() || strings.Count(cl.Stderr(), "answered 401") != 1 {
		t.Fatalf("ended, or asked again at once:\n%s", cl.Stderr())
	}
	stop(t, page)
	srv = bin.serve(t, server, "--plain", "--ping-interval", "1s")
	began := time.Now()
	cl.WaitForNth("up: ", 2, 75*time.Second)
	t.Logf("up again after %v", time.Since(began).Round(time.Second))
	stop(t, srv)
	bin.start(t, server, "serve", "--token", "another-"+token, "--state", t.TempDir(),
		"--plain").WaitFor("listening on ", soon)
	if code := cl.Wait(soon); code != 8 {
		t.Errorf("exit code %d after the server's own 401\n%s", code, cl.Stderr())
	}
}

// squid offers only NTLM.
func TestSquidNTLM(t *testing.T) {
	t.Parallel()
	_, client, gateway, ca := behindProxy(t)
	daemon(t, gateway, 3128, `
http_port 3128
visible_hostname gateway
pid_filename none
access_log none
cache_log DIR/cache.log
cache_mem 1 MB
coredump_dir DIR
pinger_enable off
max_filedescriptors 1024
shutdown_lifetime 0 seconds
auth_param ntlm program /bin/cat
auth_param ntlm children 1
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all
`, "squid", "-N", "-f", "FILE")
	refuses(t, client, ca, "http://user:"+proxyPassword+"@10.77.0.1:3128", "407",
		"it takes NTLM only, and this program speaks Basic")
}
