package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// A failure is a command line of the program that must fail.
type failure struct {
	name string
	args []string                    // for the program; --log-level error is added
	wrap []string                    // a command that runs the program, given as its last arguments
	set  func(*testing.T, *lab.Host) // prepares the host
	undo func(*testing.T, *lab.Host) // undoes set
	code int                         // its exit code
	step string                      // the step that its line names
	says string                      // part of the line, the cause
}

// failureLine matches the one line that a failure prints. An error in a flag often includes what to
// do.
var failureLine = regexp.MustCompile(`^tunnel: (usage|[a-z]+: .+): .+\n$`)

// check runs the program and compares its output, its exit code and what it leaves on the host.
func (f failure) check(t *testing.T, h *lab.Host, bin program) {
	t.Helper()
	if f.set != nil {
		f.set(t, h)
	}
	before := tables(t, h)
	// After the command, so that the last of args stays last.
	args := slices.Insert(slices.Clone(f.args), min(1, len(f.args)), "--log-level", "error")
	cmd := clean(h.Command(append(append(slices.Clone(f.wrap), string(bin)), args...)...))
	begin := time.Now()
	stdout, stderr, code := h.TryCommand(cmd)
	if code != f.code {
		t.Errorf("%s: exit code %d, want %d\n%s", f.name, code, f.code, stderr)
	}
	if !failureLine.MatchString(stderr) || strings.Count(stderr, "\n") != 1 ||
		!strings.HasPrefix(stderr, "tunnel: "+f.step+": ") || !strings.Contains(stderr, f.says) {
		t.Errorf("%s: stderr is\n%swant one line `tunnel: %s: WHAT FAILED: WHAT TO DO` with %q",
			f.name, stderr, f.step, f.says)
	}
	if stdout != "" {
		t.Errorf("%s: stdout is %q, want nothing", f.name, stdout)
	}
	untouched(t, h, before)
	if f.undo != nil {
		f.undo(t, h)
	}
	t.Logf("%s (%v): %s", f.name, time.Since(begin).Round(time.Millisecond),
		strings.TrimSpace(stderr))
}

// run returns a function that runs a command, for set and undo.
func run(argv ...string) func(*testing.T, *lab.Host) {
	return func(t *testing.T, h *lab.Host) {
		t.Helper()
		h.Run(argv...)
	}
}

// Each failure of connect has its exit code and one line with the failed step and the cause.
func TestConnectFails(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	client.Hosts("198.51.100.1 server.example other.example")
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	ca := newAuthority(t)
	cert, key := ca.issue(t, time.Now().Add(time.Hour), "server.example")
	oldCert, oldKey := ca.issue(t, time.Now().Add(-time.Hour), "server.example")
	bin.serve(t, server, "--listen", ":443", "--network", "10.2.2.0/24", "--dev", "tun1",
		"--tls-cert", cert, "--tls-key", key)
	bin.serve(t, server, "--listen", ":444", "--network", "10.3.3.0/24", "--dev", "tun2",
		"--tls-cert", oldCert, "--tls-key", oldKey)
	startNginx(t, server, `
		server {
			listen 80;
			location /200 { return 200 "hello"; }
			location /502 { return 502; }
			location /move { return 301 https://elsewhere.example/; }
			location /dead { proxy_pass http://127.0.0.1:9; }
		}`)
	notes := filepath.Join(t.TempDir(), "notes")
	if err := os.WriteFile(notes, []byte("no directory, no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}

	connect := func(url string, flags ...string) []string {
		return append([]string{"connect", url, "--token", token, "--state", t.TempDir()}, flags...)
	}
	for _, f := range []failure{
		{name: "no URL", args: []string{"connect", "--token", token}, code: 2, step: "usage",
			says: "URL"},
		{name: "one URL twice", args: connect(directURL, directURL), code: 2, step: "usage",
			says: "twice"},
		{name: "an unknown flag", args: connect(directURL, "--tokenn", "x"), code: 2, step: "usage",
			says: "tokenn"},
		{name: "a flag without value", args: []string{"connect", directURL, "--dev"}, code: 2,
			step: "usage"},
		{name: "http://", args: connect("http://server.example"), code: 2, step: "usage",
			says: "ws://"},
		{name: "no scheme and a single word", args: connect("server"), code: 2, step: "usage",
			says: "wss://"},
		{name: "no host", args: connect("ws:///ws"), code: 2, step: "usage", says: "host"},
		{name: "an invalid URL", args: connect("ws://a b"), code: 2, step: "usage"},
		{name: "a port too large", args: connect("ws://server.example:99999"), code: 2,
			step: "usage", says: "99999"},
		{name: "a name too long for a device", args: connect(directURL, "--dev",
			"sixteen-letters-"), code: 2, step: "usage", says: "sixteen-letters-"},
		{name: "a slash in a device's name", args: connect(directURL, "--dev", "a/b"), code: 2,
			step: "usage", says: "a/b"},
		{name: "an empty name for a device", args: connect(directURL, "--dev", ""), code: 2,
			step: "usage"},
		{name: "an MTU too small", args: connect(directURL, "--mtu", "20"), code: 2, step: "usage",
			says: "20"},
		{name: "a bad header", args: connect(directURL, "--header", "nonsense"), code: 2,
			step: "usage", says: "--header has a value that is not K=V"},
		{name: "a bad address", args: connect(directURL, "--address", "10.1.1"), code: 2,
			step: "usage", says: "10.1.1"},
		{name: "the other end of a pair", args: connect(directURL, "--address", "10.1.1.10"),
			code: 2, step: "usage", says: "10.1.1.10"},
		{name: "a log level that does not exist", args: connect(directURL, "--log-format", "xml"),
			code: 2, step: "usage", says: "xml"},
		{name: "a bad variable", args: connect(directURL), wrap: []string{"env",
			"TUNNEL_MTU=large"}, code: 2, step: "usage", says: "large"},
		{name: "a CA file that does not exist", args: connect("wss://server.example", "--ca",
			"/nonexistent"), code: 2, step: "usage", says: "/nonexistent"},
		{name: "a CA file without certificate", args: connect("wss://server.example", "--ca",
			notes), code: 2, step: "usage", says: notes},
		{name: "a token file that does not exist", args: []string{"connect", directURL,
			"--token-file", "/nonexistent"}, code: 2, step: "usage", says: "/nonexistent"},

		{name: "a name that does not resolve", args: connect("ws://nobody.example"), code: 3,
			step: "name", says: "nobody.example"},
		{name: "a refused connection", args: connect("ws://server.example:9"), code: 4, step: "tcp",
			says: "198.51.100.1:9"},
		{name: "no route", args: connect("ws://192.0.2.1"), code: 4, step: "tcp",
			says: "192.0.2.1"},
		{name: "no host at the address", args: connect("ws://198.51.100.77:8443"), code: 4, step: "tcp",
			says: "198.51.100.77"},
		{name: "a dead proxy", args: connect("wss://server.example"), wrap: []string{"env",
			"HTTPS_PROXY=http://198.51.100.1:9"}, code: 5, step: "proxy", says: "198.51.100.1:9"},
		{name: "no proxy at the address", args: connect("wss://server.example"), wrap: []string{"env",
			"HTTPS_PROXY=http://198.51.100.1:80"}, code: 5, step: "proxy", says: "198.51.100.1:80"},

		{name: "an unknown authority", args: connect("wss://server.example"), code: 6, step: "tls",
			says: "--ca"},
		{name: "an expired certificate", args: connect("wss://server.example:444", "--ca", ca.File),
			code: 6, step: "tls", says: "expired"},
		{name: "a wrong name", args: connect("wss://other.example", "--ca", ca.File), code: 6,
			step: "tls", says: "other.example"},
		{name: "TLS to a server without TLS", args: connect("wss://server.example:8443", "--ca",
			ca.File), code: 6, step: "tls", says: "ws://"},

		{name: "no TLS to a server with TLS", args: connect("ws://server.example:443"), code: 7,
			step: "http", says: "wss://"},
		{name: "a web page", args: connect("ws://server.example/200"), code: 7, step: "http",
			says: "200"},
		{name: "another path", args: connect("ws://server.example/404"), code: 7, step: "http",
			says: "404"},
		{name: "a bad gateway", args: connect("ws://server.example/502"), code: 7, step: "http",
			says: "502"},
		{name: "a dead server behind a proxy", args: connect("ws://server.example/dead"), code: 7,
			step: "http", says: "502"},
		{name: "a redirection", args: connect("ws://server.example/move"), code: 7, step: "http",
			says: "https://elsewhere.example/"},
		{name: "our server's other path", args: connect(directURL + "/other"), code: 7,
			step: "http", says: "404"},

		{name: "an overlapping route", args: connect(directURL), code: 9, step: "address",
			says: "10.1.1.0/24",
			set:  run("ip", "route", "add", "10.1.0.0/16", "dev", "lo"), undo: run("ip", "route",
				"del", "10.1.0.0/16", "dev", "lo")},
		{name: "an overlapping address", args: connect(directURL), code: 9, step: "address",
			says: "10.1.1.0/24",
			set:  run("ip", "addr", "add", "10.1.1.200/32", "dev", "lo"), undo: run("ip", "addr",
				"del", "10.1.1.200/32", "dev", "lo")},

		{name: "another device of that name", args: connect(directURL), code: 10, step: "device",
			says: "tun0",
			set:  run("ip", "link", "add", "tun0", "type", "veth", "peer", "name", "tun0peer"),
			undo: run("ip", "link", "del", "tun0")},
		{name: "another's tun device of that name", args: connect(directURL), code: 10,
			step: "device", says: "tun0",
			set: run("ip", "tuntap", "add", "dev", "tun0", "mode", "tun"), undo: run("ip", "link",
				"del", "tun0")},
		{name: "no /proc", args: connect(directURL), wrap: hidden("/proc"), code: 1,
			step: "internal", says: "mount -t proc proc /proc"},
		{name: "no /dev/net/tun", args: connect(directURL), wrap: hidden("/dev/net"), code: 10,
			step: "device", says: "/dev/net/tun"},
		{name: "no CAP_NET_ADMIN", args: connect(directURL), wrap: without("net_admin"), code: 10,
			step: "device", says: "CAP_NET_ADMIN"},
		{name: "no ip", args: connect(directURL), wrap: []string{"env", "PATH=/nonexistent"},
			code: 11, step: "route", says: "iproute2"},
		{name: "an ip that fails", args: connect(directURL), wrap: []string{"env", "PATH=" +
			brokenIP(t)}, code: 11, step: "route", says: "out of order"},

		{name: "a state that is no directory", args: connect(directURL, "--state", notes), code: 13,
			step: "state", says: notes},
	} {
		f.check(t, client, bin)
	}
}

// Each failure of serve's start has its exit code and one line with the failed step and the cause.
func TestServeFails(t *testing.T) {
	t.Parallel()
	server, _ := direct(t)
	bin := plainBuild(t)
	busy := server.Start("nc", "-d", "-k", "-l", "8080")
	listening(t, server, 8080)
	notes := filepath.Join(t.TempDir(), "notes")
	if err := os.WriteFile(notes, []byte("no directory, no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	serve := func(flags ...string) []string {
		return append([]string{"serve", "--token", token, "--state", t.TempDir(), "--plain"},
			flags...)
	}
	for _, f := range []failure{
		{name: "an unknown flag", args: serve("--lissten", ":80"), code: 2, step: "usage",
			says: "lissten"},
		{name: "an argument", args: serve("8443"), code: 2, step: "usage", says: "8443"},
		{name: "a certificate that does not exist", args: []string{"serve", "--token", token,
			"--tls-cert", "/nonexistent", "--tls-key", notes}, code: 2, step: "usage",
			says: "/nonexistent"},
		{name: "an invalid certificate file", args: []string{"serve", "--token", token, "--tls-cert",
			notes, "--tls-key", notes}, code: 2, step: "usage", says: notes},
		{name: "a bad network", args: serve("--network", "10.1.1.0"), code: 2, step: "usage",
			says: "10.1.1.0"},
		{name: "an IPv6 network", args: serve("--network", "fd00::/64"), code: 2, step: "usage",
			says: "fd00::/64"},
		{name: "a bad device name", args: serve("--dev", "tun 0"), code: 2, step: "usage",
			says: "tun 0"},
		{name: "a bad address to listen on", args: serve("--listen", "8443"), code: 2,
			step: "usage", says: "8443"},
		{name: "a bad ping interval", args: serve("--ping-interval", "0s"), code: 2, step: "usage",
			says: "ping-interval"},
		{name: "a bad path", args: serve("--path", "ws"), code: 2, step: "usage", says: "ws"},

		{name: "an overlapping network", args: serve("--network", "198.51.0.0/16"), code: 9,
			step: "address", says: "198.51.0.0/16"},
		{name: "an overlapping route", args: serve(), code: 9, step: "address", says: "10.1.1.0/24",
			set: run("ip", "route", "add", "10.1.1.128/25", "dev", "lo"), undo: run("ip", "route",
				"del", "10.1.1.128/25", "dev", "lo")},
		{name: "a device of that name", args: serve("--dev", "eth0"), code: 10, step: "device",
			says: "eth0"},
		{name: "another's tun device of that name", args: serve(), code: 10, step: "device",
			says: "tun0",
			set:  run("ip", "tuntap", "add", "dev", "tun0", "mode", "tun"), undo: run("ip", "link",
				"del", "tun0")},
		{name: "no /dev/net/tun", args: serve(), wrap: hidden("/dev/net"), code: 10, step: "device",
			says: "/dev/net/tun"},
		{name: "no CAP_NET_ADMIN", args: serve(), wrap: without("net_admin"), code: 10,
			step: "device", says: "CAP_NET_ADMIN"},
		{name: "no ip", args: serve(), wrap: []string{"env", "PATH=/nonexistent"}, code: 11,
			step: "route", says: "iproute2"},
		{name: "an ip that fails", args: serve(), wrap: []string{"env", "PATH=" + brokenIP(t)},
			code: 11, step: "route", says: "out of order"},
		{name: "a port in use", args: serve("--listen", ":8080"), code: 12, step: "listen",
			says: "8080"},
		{name: "an address of another host", args: serve("--listen", "192.0.2.1:8443"), code: 12,
			step: "listen", says: "192.0.2.1"},
		{name: "a state that is no directory", args: serve("--state", notes), code: 13,
			step: "state", says: notes},
	} {
		f.check(t, server, bin)
	}
	busy.Kill()
}

// hidden wraps a command so that a directory is empty for it.
func hidden(dir string) []string {
	return []string{"unshare", "-m", "sh", "-c", `mount -t tmpfs none "$0" && exec "$@"`, dir}
}

// without wraps a command so that it lacks a capability, as in a container.
func without(capability string) []string {
	return []string{"setpriv", "--inh-caps", "-" + capability, "--bounding-set", "-" + capability}
}

// brokenIP returns a directory with an ip that answers queries and refuses changes.
func brokenIP(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	script := `#!/bin/sh
case "$*" in
*" add "*|*" set "*|*" r a "*) echo "RTNETLINK answers: out of order" >&2; exit 2;;
esac
exec /sbin/ip "$@"
`
	if err := os.WriteFile(filepath.Join(dir, "ip"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
