package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// proxyPassword is the password of user at every proxy of these tests.
const proxyPassword = "pa55w0rd-of-proxy"

// behindProxy returns a client, 10.77.0.2, that only reaches a gateway, 10.77.0.1, and a server
// with TLS on server.example, 203.0.113.1, that only the gateway reaches.
func behindProxy(t *testing.T) (server, client, gateway *lab.Host, ca *authority) {
	t.Helper()
	server, client, gateway = routed(t)
	gateway.Sysctl("net.ipv4.ip_forward", "0")
	client.Hosts(routedServer + " server.example")
	gateway.Hosts(routedServer + " server.example")
	ca = newAuthority(t)
	cert, key := ca.issue(t, time.Now().Add(time.Hour), "server.example")
	plainBuild(t).serve(t, server, "--listen", ":443", "--tls-cert", cert, "--tls-key", key)
	return server, client, gateway, ca
}

// through connects a client by a proxy, checks that the tunnel works and that the bypass leads to
// the proxy, and stops the client.
func through(t *testing.T, server, client *lab.Host, ca *authority, proxy string) {
	t.Helper()
	before := tables(t, client)
	bin := plainBuild(t)
	cmd := bin.command(client, "connect", "--token", token, "--state", t.TempDir(), "--ca", ca.File,
		"wss://server.example")
	cmd.Env = append(cmd.Env, "TUNNEL_PROXY="+proxy)
	cl := watch(t, client.StartCommand(cmd))
	cl.WaitFor("up: ", soon)
	reaches(t, client, "10.1.1.1")
	sendFile(t, client, server, "10.1.1.1", 2<<20)
	stop(t, cl)
	if strings.Contains(cl.Stderr()+cl.Stdout(), proxyPassword) {
		t.Errorf("the proxy's password is in the output:\n%s%s", cl.Stdout(), cl.Stderr())
	}
	untouched(t, client, before)
}

// refuses fails the test unless the client reports what is wrong with a proxy in one line, without
// the password.
func refuses(t *testing.T, client *lab.Host, ca *authority, proxy string, says ...string) {
	t.Helper()
	bin := plainBuild(t)
	before := tables(t, client)
	_, stderr, code := client.TryCommand(bin.command(client, "connect", "--token", token, "--state",
		t.TempDir(), "--ca", ca.File,
		"--log-level", "error", "--proxy", proxy, "wss://server.example"))
	if code != 5 || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr,
		"tunnel: proxy: ") || strings.Contains(stderr, "wrong-"+proxyPassword) {
		t.Errorf("%s: exit code %d, want 5 and one line\n%s", proxy, code, stderr)
	}
	for _, text := range says {
		if !strings.Contains(stderr, text) {
			t.Errorf("%s: %q is not in: %s", proxy, text, stderr)
		}
	}
	t.Log(strings.TrimSpace(stderr))
	untouched(t, client, before)
}

// daemon runs a Debian program on a host until the end of the test, with a configuration file. In
// argv, FILE is replaced by the file's path, and in the configuration DIR by a writable directory.
func daemon(t *testing.T, h *lab.Host, port int, config string, argv ...string) *lab.Proc {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil { // for programs that drop root
		t.Fatal(err)
	}
	for d := filepath.Dir(dir); d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "config")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(config, "DIR", dir)), 0o644); err != nil {
		t.Fatal(err)
	}
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], "FILE", file)
	}
	cmd := h.Command(argv...)
	cmd.Env = append(cmd.Env, "HOME="+dir)
	p := h.StartCommand(cmd)
	t.Cleanup(func() {
		p.Signal(syscall.SIGTERM)
		p.Kill()
	})
	listening(t, h, port)
	return p
}

// A client connects through squid with Basic authentication.
func TestSquid(t *testing.T) {
	t.Parallel()
	server, client, gateway, ca := behindProxy(t)
	passwords := filepath.Join(t.TempDir(), "auth.sh")
	// Squid asks this program: a line with user and password, answered by OK or ERR.
	script := "#!/bin/sh\nwhile read -r user password; do [ \"$user $password\" = 'user " +
		proxyPassword + "' ] && echo OK || echo ERR; done\n"
	if err := os.WriteFile(passwords, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	for d := filepath.Dir(passwords); d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
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
hosts_file /etc/hosts
auth_param basic program `+passwords+`
auth_param basic children 1
acl known proxy_auth REQUIRED
acl tls port 443
http_access deny CONNECT !tls
http_access allow known
http_access deny all
`, "squid", "-N", "-f", "FILE")
	through(t, server, client, ca, "http://user:"+proxyPassword+"@10.77.0.1:3128")
	refuses(t, client, ca, "http://10.77.0.1:3128", "407", "USER:PASSWORD@", "TUNNEL_PROXY")
	refuses(t, client, ca, "http://user:wrong-"+proxyPassword+"@10.77.0.1:3128", "407",
		"USER:PASSWORD@")
}

// A client connects through tinyproxy, with and without a password.
func TestTinyproxy(t *testing.T) {
	t.Parallel()
	server, client, gateway, ca := behindProxy(t)
	const config = "Port %d\nListen 10.77.0.1\nTimeout 600\nMaxClients 10\nLogLevel Error\n" +
		"ConnectPort 443\n%s\n"
	daemon(t, gateway, 8888, fmt.Sprintf(config, 8888, ""), "tinyproxy", "-d", "-c", "FILE")
	daemon(t, gateway, 8889, fmt.Sprintf(config, 8889, "BasicAuth user "+proxyPassword),
		"tinyproxy", "-d", "-c", "FILE")
	through(t, server, client, ca, "10.77.0.1:8888")
	through(t, server, client, ca, "http://user:"+proxyPassword+"@10.77.0.1:8889")
	refuses(t, client, ca, "http://10.77.0.1:8889", "407", "USER:PASSWORD@")
	refuses(t, client, ca, "http://10.77.0.1:8887", "10.77.0.1:8887", "--proxy")
}

// A client connects through microsocks and Dante. The client's own name service has another address
// for the server, which shows who resolves the name.
func TestSOCKS(t *testing.T) {
	t.Parallel()
	server, client, gateway, ca := behindProxy(t)
	daemon(t, gateway, 1080, "", "microsocks", "-i", "10.77.0.1", "-p", "1080", "-u", "user", "-P",
		proxyPassword)
	daemon(t, gateway, 1081, `
logoutput: stderr
internal: 10.77.0.1 port = 1081
external: eth0
clientmethod: none
socksmethod: none
user.privileged: root
user.unprivileged: nobody
client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
socks pass { from: 0.0.0.0/0 to: 203.0.113.0/24 port = 443 }
`, "danted", "-f", "FILE")
	through(t, server, client, ca, "socks5://user:"+proxyPassword+"@10.77.0.1:1080")
	through(t, server, client, ca, "socks5://10.77.0.1:1081")
	client.Hosts("192.0.2.1 server.example")
	through(t, server, client, ca, "socks5h://user:"+proxyPassword+"@10.77.0.1")
	refuses(t, client, ca, "socks5://10.77.0.1:1081", "192.0.2.1:443")
	refuses(t, client, ca, "socks5h://user:wrong-"+proxyPassword+"@10.77.0.1",
		"SOCKS5 authentication failed", "USER:PASSWORD@")
	refuses(t, client, ca, "socks5h://10.77.0.1:1080", "SOCKS5 authentication failed",
		"USER:PASSWORD@")
}

// staysUpIdle connects clients by ws and by wss through a reverse proxy on the server, and fails
// the test unless both stay up for 8 s with nothing to send but a keepalive each second.
func staysUpIdle(t *testing.T, server *lab.Host, clients []*lab.Host, ca *authority) {
	t.Helper()
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain", "--listen", "127.0.0.1:8443", "--ping-interval", "1s")
	both := []*lab.Proc{bin.connect(t, clients[0], "ws://server.example"),
		bin.connect(t, clients[1], "wss://server.example", "--ca", ca.File)}
	time.Sleep(8 * time.Second) // without any packet
	for i, c := range clients {
		reaches(t, c, "10.1.1.1")
		sendFile(t, c, server, "10.1.1.1", 4<<20)
		sendFile(t, server, c, addressOf(i), 4<<20)
		if downs(both[i]) > 0 || strings.Contains(srv.Stderr(), leftMessage) {
			t.Errorf("the connection did not last:\n%s%s", both[i].Stderr(), srv.Stderr())
		}
	}
}

// Debian's HAProxy configuration has an idle time-out of 50 s, and the program a keepalive of 20 s:
// both are divided by 20 here.
func TestBehindHAProxy(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	for _, c := range clients {
		c.Hosts("198.51.100.1 server.example")
	}
	ca := newAuthority(t)
	cert, key := ca.issue(t, time.Now().Add(time.Hour), "server.example")
	both := filepath.Join(t.TempDir(), "both.pem") // HAProxy needs certificate and key in one file
	if out, err := exec.CommandContext(t.Context(), "sh", "-c",
		"umask 077; cat "+cert+" "+key+" >"+both).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	daemon(t, server, 443, `
global
	maxconn 100
defaults
	mode http
	timeout connect 5s
	timeout client 2500ms
	timeout server 2500ms
frontend all
	bind :80
	bind :443 ssl crt `+both+`
	default_backend tunnel
backend tunnel
	server tunnel 127.0.0.1:8443
`, "haproxy", "-db", "-f", "FILE")
	staysUpIdle(t, server, clients, ca)
}

// Caddy runs with the configuration of its documentation, which has no idle time-out after an
// upgrade.
func TestBehindCaddy(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	for _, c := range clients {
		c.Hosts("198.51.100.1 server.example")
	}
	ca := newAuthority(t)
	cert, key := ca.issue(t, time.Now().Add(time.Hour), "server.example")
	daemon(t, server, 443, fmt.Sprintf(`
{
	admin off
	storage file_system DIR/caddy
	auto_https disable_redirects
}
http://server.example {
	reverse_proxy 127.0.0.1:8443
}
https://server.example {
	tls %s %s
	reverse_proxy 127.0.0.1:8443
}
`, cert, key), "caddy", "run", "--adapter", "caddyfile", "--config", "FILE")
	staysUpIdle(t, server, clients, ca)
}
