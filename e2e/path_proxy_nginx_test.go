package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// proxyLocation is an administrator's nginx location of the server, with the idle time-out reduced
// from 60 s to 3 s.
const proxyLocation = `
	location /ws {
		proxy_pass http://127.0.0.1:8443;
		proxy_http_version 1.1;
		proxy_set_header Upgrade $http_upgrade;
		proxy_set_header Connection "upgrade";
		proxy_read_timeout 3s;
		proxy_send_timeout 3s;
	}`

// Clients behind nginx, with and without TLS, stay connected longer than its idle time-out, by the
// keepalive.
func TestBehindNginx(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	for _, c := range clients {
		c.Hosts("198.51.100.1 server.example")
	}
	ca := newAuthority(t)
	cert, key := ca.issue(t, time.Now().Add(time.Hour), "server.example")
	startNginx(t, server, fmt.Sprintf(`
		server { listen 80; %[1]s }
		server { listen 443 ssl; ssl_certificate %[2]s; ssl_certificate_key %[3]s; %[1]s }`,
		proxyLocation, cert, key))
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain", "--listen", "127.0.0.1:8443", "--ping-interval", "1s")
	plain := bin.connect(t, clients[0], "ws://server.example")
	secure := bin.connect(t, clients[1], "wss://server.example", "--ca", ca.File)
	both := []*lab.Proc{plain, secure}

	// No packet crosses meanwhile.
	idle := time.After(8 * time.Second)
	<-idle
	for i, c := range clients {
		reaches(t, c, "10.1.1.1")
		reaches(t, server, addressOf(i))
		sendFile(t, c, server, "10.1.1.1", 10<<20)
		sendFile(t, server, c, addressOf(i), 10<<20)
		if out := both[i].Stdout(); strings.Count(out, "\n") != 1 {
			t.Errorf("the connection did not last:\n%s%s", out, both[i].Stderr())
		}
	}
	if strings.Contains(srv.Stderr(), leftMessage) {
		t.Errorf("a connection did not last:\n%s", srv.Stderr())
	}
}

// The proxy restarts: the client reconnects.
func TestNginxRestarts(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain", "--listen", "127.0.0.1:8443", "--ping-interval", "1s")
	servers := "server { listen 80; " + proxyLocation + " }"
	proxy := startNginx(t, server, servers)
	cl := bin.connect(t, client, "ws://"+directServer)
	index := device(client, "tun0")
	proxy.Signal(os.Interrupt)
	proxy.Wait(soon)
	cl.WaitFor("down: ", soon)
	startNginx(t, server, servers)
	cl.WaitForNth("up: ", 2, 2*soon)
	reaches(t, client, "10.1.1.1")
	if now := device(client, "tun0"); now != index {
		t.Errorf("the client's device has index %s, had %s", now, index)
	}
}

// The server is only reachable through an HTTP proxy: the client uses CONNECT, and its route leads
// to the proxy, not to the server.
func TestThroughProxy(t *testing.T) {
	t.Parallel()
	server, client, router := routed(t)
	router.Sysctl("net.ipv4.ip_forward", "0") // the proxy is the only path
	asked := connectProxy(t, router, "10.77.0.1:3128",
		map[string]string{"server.example:443": routedServer + ":443"})
	before := tables(t, client)
	ca := newAuthority(t)
	cert, key := ca.issue(t, time.Now().Add(time.Hour), "server.example")
	bin := plainBuild(t)
	bin.serve(t, server, "--listen", ":443", "--tls-cert", cert, "--tls-key", key)
	cmd := bin.command(client, "connect", "--token", token, "--state", t.TempDir(), "--ca", ca.File,
		"wss://server.example")
	cmd.Env = append(cmd.Env, "HTTPS_PROXY=http://user:secret-of-proxy@10.77.0.1:3128")
	cl := watch(t, client.StartCommand(cmd))
	cl.WaitFor("up: ", soon)
	reaches(t, client, "10.1.1.1")
	sendFile(t, client, server, "10.1.1.1", 1<<20)
	if asked.Load() != 1 {
		t.Errorf("the proxy was asked %d times, want once", asked.Load())
	}
	if strings.Contains(cl.Stderr(), "secret-of-proxy") {
		t.Errorf("the proxy's password is in the log:\n%s", cl.Stderr())
	}
	stop(t, cl)
	untouched(t, client, before)
}

// connectProxy runs an HTTP proxy on a host that only supports CONNECT, for user:secret-of-proxy,
// to the given addresses. It counts the requests.
func connectProxy(t *testing.T, h *lab.Host, address string,
	places map[string]string) *atomic.Int32 {
	t.Helper()
	var ln net.Listener
	err := h.Do(func() (err error) {
		ln, err = new(net.ListenConfig).Listen(t.Context(), "tcp", address)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	asked := new(atomic.Int32)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				req, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				req.Header.Set("Authorization", req.Header.Get("Proxy-Authorization"))
				user, password, _ := req.BasicAuth()
				to := places[req.Host]
				if req.Method != http.MethodConnect || to == "" || user != "user" ||
					password != "secret-of-proxy" {
					fmt.Fprint(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
					return
				}
				out, err := h.DialContext(context.Background(), "tcp", to)
				if err != nil {
					fmt.Fprint(conn, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
					return
				}
				defer out.Close()
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n")
				go func() {
					_, _ = io.Copy(out, in)
					_ = out.Close()
				}()
				_, _ = io.Copy(conn, out)
			}()
		}
	}()
	return asked
}

// The server terminates TLS itself.
func TestTLS(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	client.Hosts("198.51.100.1 server.example")
	ca := newAuthority(t)
	cert, key := ca.issue(t, time.Now().Add(time.Hour), "server.example", directServer)
	bin := raceBuild(t)
	bin.serve(t, server, "--tls-cert", cert, "--tls-key", key)
	for i, host := range []string{"server.example", directServer} {
		cl := bin.connect(t, client, "wss://"+host+":8443", "--ca", ca.File)
		reaches(t, client, "10.1.1.1")
		reaches(t, server, addressOf(i)) // the first address is reserved for the first client
		sendFile(t, client, server, "10.1.1.1", 5<<20)
		sendFile(t, server, client, addressOf(i), 5<<20)
		stop(t, cl)
	}
	// A header of the user reaches the server: another Host.
	cl := bin.connect(t, client, "wss://server.example:8443", "--ca", ca.File, "--header",
		"X-Tenant=blue", "--header", "Host=inner.example")
	stop(t, cl)
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(cert), "*")); err != nil ||
		len(left) != 2 {
		t.Errorf("files beside the certificate: %q (%v)", left, err)
	}
}
