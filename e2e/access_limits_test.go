package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/e2e/hostile"
	"tunnel/e2e/lab"
)

// 600 connections stall in a TLS handshake, in a request header or after the upgrade. Meanwhile a
// client works and others join; at the end none of the 600 is left.
func TestSlowLoris(t *testing.T) {
	t.Parallel()
	server, hosts := star(t, 6)
	ca := newAuthority(t)
	cert, key := ca.issue(t, time.Now().Add(time.Hour), directServer)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--tls-cert", cert, "--tls-key", key)
	const url = "wss://" + directServer + ":8443"
	good := bin.connect(t, hosts[0], url, "--ca", ca.File)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	secured := func(conn net.Conn) net.Conn {
		//nolint:gosec // a hostile client does not care who the server is
		return tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	}
	var opened atomic.Int64
	for _, h := range hosts[2:] { // 150 connections each
		loris(ctx, h, 36, &opened, func(ctx context.Context, conn net.Conn) {
			drip(ctx, conn, "\x16\x03\x01\x40\x00")
		})
		loris(ctx, h, 36, &opened, func(_ context.Context, conn net.Conn) {
			_, _ = io.Copy(io.Discard, conn)
		})
		loris(ctx, h, 42, &opened, func(ctx context.Context, conn net.Conn) {
			drip(ctx, secured(conn), "GET /ws HTTP/1.1\r\nHost: h\r\nX: ")
		})
		loris(ctx, h, 36, &opened, func(_ context.Context, conn net.Conn) {
			c := secured(conn)
			_, _ = hostile.Upgrade(c, token) // without a connect message
			_, _ = io.Copy(io.Discard, c)
		})
	}
	eventually(t, "500 connections are there", func() bool { return connections(t, server) >= 500 })

	begin := time.Now()
	joined := bin.connect(t, hosts[1], url, "--ca", ca.File)
	t.Logf("a new client has joined after %v", time.Since(begin))
	begin = time.Now()
	bin.connect(t, hosts[2], url, "--ca", ca.File, "--keep-trying")
	t.Logf("another, from where most of them come, after %v", time.Since(begin))
	for begin := time.Now(); time.Since(begin) < 12*time.Second; { // longer than every time-out
		sendFile(t, hosts[0], server, "10.1.1.1", 5<<20)
		sendFile(t, server, hosts[0], addressOf(0), 5<<20)
	}
	reaches(t, hosts[1], "10.1.1.1")
	reaches(t, hosts[2], "10.1.1.1")
	for _, cl := range []*lab.Proc{good, joined} {
		if n := len(stdoutLines(cl, "down: ")); n > 0 {
			t.Errorf("a client lost its connection:\n%s", cl.Stderr())
		}
	}
	cancel()
	t.Logf("%d connections were opened", opened.Load())
	eventually(t, "only the clients' connections are left",
		func() bool { return connections(t, server) == 3 })
	if n := strings.Count(srv.Stderr(), "\n"); n > 100 {
		t.Errorf("%d lines of log\n%s", n, srv.Stderr())
	}
}

// connections returns how many established connections the server has.
func connections(t *testing.T, server *lab.Host) int {
	t.Helper()
	return strings.Count(server.Run("ss", "-Htn", "state", "established", "sport = :8443"), "\n")
}

// curlUpgrade returns a curl command that asks for the WebSocket with a token.
func curlUpgrade(secret string, flags ...string) []string {
	argv := append([]string{"curl", "-o", "/dev/null"}, flags...)
	for _, line := range []string{"Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
		"Sec-WebSocket-Protocol: tunnel.v1", "Authorization: Bearer " + secret} {
		argv = append(argv, "-H", line)
	}
	return argv
}

// login asks for the WebSocket with curl and returns the status code of the answer.
func login(h *lab.Host, url, secret string, header ...string) string {
	argv := curlUpgrade(secret, "-sS", "-m", "1", "-w", "%{http_code}")
	for _, line := range header {
		argv = append(argv, "-H", line)
	}
	out, _, _ := h.Try(append(argv, url)...) // -m ends a WebSocket that was accepted
	return out
}

const wrongToken = "e2e-wrong-token-of-16-bytes"

// An address that guesses tokens is banned for a minute: even the right token is refused, and a
// client is told when to try again. Other addresses are not affected.
func TestBannedAddress(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain")
	good := bin.connect(t, clients[0], directURL)
	url := "http://" + directServer + ":8443/ws"
	for i := range 10 {
		if code := login(clients[1], url, wrongToken); code != "401" {
			t.Errorf("wrong token %d: answered %s", i, code)
		}
	}
	banned := time.Now()
	for _, secret := range []string{wrongToken, token} {
		if code := login(clients[1], url, secret); code != "429" {
			t.Errorf("banned: answered %s", code)
		}
	}
	_, stderr, code := clients[1].TryCommand(bin.command(clients[1], "connect", "--token", token,
		"--state", t.TempDir(), "--log-level", "error", directURL))
	if code != 7 || strings.Count(stderr, "\n") != 1 ||
		!strings.Contains(stderr, "429 Too Many Requests") ||
		!strings.Contains(stderr, "try again in ") {
		t.Errorf("connect while banned: exit code %d\n%s", code, stderr)
	}

	// An address with a connected client may fail more than ten times.
	for i := range 15 {
		if code := login(clients[0], url, wrongToken); code != "401" {
			t.Errorf("wrong token %d from where a client is: answered %s", i, code)
		}
	}
	if code := login(clients[0], url, token); code != "101" {
		t.Errorf("right token from where a client is: answered %s", code)
	}

	waiting := bin.startConnect(t, clients[1], directURL, "--keep-trying")
	waiting.WaitFor("429", soon)
	waiting.WaitFor("up: ", 2*time.Minute)
	if took := time.Since(banned); took < 55*time.Second {
		t.Errorf("the ban was over after %v", took)
	}
	reaches(t, clients[1], "10.1.1.1")
	if n := len(stdoutLines(good, "down: ")); n > 0 {
		t.Errorf("the other client lost its connection:\n%s", good.Stderr())
	}
	if strings.Contains(srv.Stderr(), wrongToken) ||
		strings.Count(srv.Stderr(), "wrong or missing token") > 5+15 {
		t.Errorf("the log has tokens, or too much:\n%s", srv.Stderr())
	}
}

// All clients come through an nginx on another host. A server that trusts it bans each client that
// guesses tokens, whatever address the client claims in X-Forwarded-For; a server that does not
// trust it only sees nginx's address.
func TestTrustedProxy(t *testing.T) {
	t.Parallel()
	server, hosts := star(t, 3)
	proxy, attacker, friend := hosts[0], hosts[1], hosts[2]
	bin := plainBuild(t)
	trusting := bin.serve(t, server, "--plain", "--trusted-proxy", "198.51.100.2",
		"--max-per-address", "2")
	other := bin.serve(t, server, "--plain", "--listen", ":8444", "--network", "10.2.2.0/24", "--dev",
		"tun1", "--trusted-proxy", "203.0.113.0/24")
	var servers strings.Builder
	for listen, to := range map[int]int{80: 8443, 81: 8444} {
		fmt.Fprintf(&servers, `server { listen %d; location /ws {
			proxy_pass http://%s:%d; proxy_http_version 1.1;
			proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } }`, listen, directServer, to)
	}
	startNginx(t, proxy, servers.String())
	const through, past = "http://198.51.100.2/ws", "http://198.51.100.2:81/ws"

	// The attacker claims another address each time.
	for i := range 10 {
		if code := login(attacker, through, wrongToken,
			fmt.Sprintf("X-Forwarded-For: 192.0.2.%d, 198.51.100.4", i)); code != "401" {
			t.Errorf("wrong token %d: answered %s", i, code)
		}
	}
	if code := login(attacker, through, token); code != "429" {
		t.Errorf("the attacker, banned: answered %s", code)
	}
	if code := login(attacker, "http://"+directServer+":8443/ws", token,
		"X-Forwarded-For: 192.0.2.99"); code != "429" {
		t.Errorf("the attacker, past the proxy, with a claim: answered %s", code)
	}
	cl := bin.connect(t, friend, "ws://198.51.100.2")
	reaches(t, friend, "10.1.1.1")
	trusting.WaitFor("remote=198.51.100.3 ", soon)
	trusting.WaitFor("remote=198.51.100.4 ", soon)
	for _, claim := range []string{"remote=192.0.2.", "remote=198.51.100.2"} {
		if strings.Contains(trusting.Stderr(), claim) {
			t.Errorf("the log has %s\n%s", claim, trusting.Stderr())
		}
	}

	// The friend may have two connections; curl's is the second.
	second := friend.Start(append(curlUpgrade(token, "-sSv", "-N", "-m", "20"), through)...)
	second.WaitFor("101 Switching Protocols", soon)
	eventually(t, "a third connection of the friend is one too many",
		func() bool { return login(friend, through, token) == "429" })
	second.Signal(os.Interrupt)
	second.Wait(soon)
	if n := len(stdoutLines(cl, "down: ")); n > 0 {
		t.Errorf("the friend lost its connection:\n%s", cl.Stderr())
	}

	// Not trusted: the attacker's failures count for nginx's address, and so for all its clients.
	for i := range 10 {
		if code := login(attacker, past, wrongToken); code != "401" {
			t.Errorf("wrong token %d, not trusted: answered %s", i, code)
		}
	}
	if code := login(friend, past, token); code != "429" {
		t.Errorf("the friend, not trusted: answered %s", code)
	}
	if log := other.Stderr(); !strings.Contains(log, "--trusted-proxy") ||
		strings.Contains(log, "remote=198.51.100.3") {
		t.Errorf("the log is\n%s", log)
	}
}

// Connections over the limit of one address are closed without an answer; another address has its
// own limit.
func TestMaxPerAddress(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain", "--max-per-address", "3", "--max-connections", "5")
	var all []*rawClient
	for range 3 {
		c := dialRaw(t, clients[0], directURL)
		c.connect()
		all = append(all, c)
	}
	for range 50 {
		closedAtOnce(t, clients[0])
	}
	two := bin.connect(t, clients[1], directURL)
	last := dialRaw(t, clients[1], directURL) // the server's fifth connection
	last.connect()
	closedAtOnce(t, clients[1])
	reaches(t, clients[1], "10.1.1.1")
	_ = all[0].conn.CloseNow()
	eventually(t, "there is room again", func() bool {
		return login(clients[0], "http://"+directServer+":8443/ws", token) == "101"
	})
	if n := strings.Count(srv.Stderr(), "too many connections"); n < 1 || n > 10 {
		t.Errorf("%d lines about too many connections\n%s", n, srv.Stderr())
	}
	stop(t, two)
	stop(t, srv)
	if !strings.Contains(srv.Stderr(), "refused.per_address=50 ") {
		t.Errorf("the refusals are not counted:\n%s", srv.Stderr())
	}
}

func closedAtOnce(t *testing.T, h *lab.Host) {
	t.Helper()
	conn, err := h.DialContext(t.Context(), "tcp", directServer+":8443")
	if errors.Is(err, unix.ECONNRESET) { // closed before it was written to
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// Less than the server gives an unauthenticated client.
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
		t.Errorf("one too many got %d bytes, %v", n, err)
	}
}

// When connections use up the server's file descriptors it logs that, a connected client stays, and
// after they have closed new clients can join.
func TestFileDescriptorLimit(t *testing.T) {
	t.Parallel()
	server, hosts := star(t, 2)
	bin := plainBuild(t)
	srv := bin.startWrapped(t, server, []string{"prlimit", "--nofile=40"}, "serve", "--plain")
	srv.WaitFor("listening on ", soon)
	good := bin.connect(t, hosts[0], directURL)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var opened atomic.Int64
	loris(ctx, hosts[1], 60, &opened, func(_ context.Context, conn net.Conn) {
		_, _ = io.Copy(io.Discard, conn)
	})
	const says = "new connections wait: no more files can be opened"
	srv.WaitFor(says, soon)
	reaches(t, hosts[0], "10.1.1.1")
	sendFile(t, hosts[0], server, "10.1.1.1", 5<<20)
	cancel()
	bin.connect(t, hosts[1], directURL, "--keep-trying")
	reaches(t, hosts[1], "10.1.1.1")
	if n := len(stdoutLines(good, "down: ")); n > 0 {
		t.Errorf("a client lost its connection:\n%s", good.Stderr())
	}
	if n := strings.Count(srv.Stderr(), says); n > 2 { // at most one a minute
		t.Errorf("said %d times that there are no files\n%s", n, srv.Stderr())
	}
}
