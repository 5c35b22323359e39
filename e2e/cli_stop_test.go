package e2e

import (
	"context"
	"syscall"
	"testing"
)

// The tests of this file run alone: they measure how long the program takes to end.

// Each side stops in time while the other one does not answer and packets for it wait.
func TestStopBesideStalledPeers(t *testing.T) {
	server, client := direct(t)
	serverBefore, clientBefore := tables(t, server), tables(t, client)
	bin := plainBuild(t)
	state := t.TempDir()
	srv := bin.serve(t, server, "--plain", "--state", state)
	cl := bin.connect(t, client, directURL)

	cl.Signal(syscall.SIGSTOP)
	server.Try("ping", "-q", "-n", "-c200", "-i0.002", "-s30000", "-W1", "10.1.1.3")
	stopInTime(t, srv)
	untouched(t, server, serverBefore)
	cl.Signal(syscall.SIGCONT)
	srv = bin.serve(t, server, "--plain", "--state", state)
	cl.WaitForNth("up: ", 2, soon)

	srv.Signal(syscall.SIGSTOP)
	client.Try("ping", "-q", "-n", "-c200", "-i0.002", "-s30000", "-W1", "10.1.1.1")
	stopInTime(t, cl)
	untouched(t, client, clientBefore)
	srv.Signal(syscall.SIGCONT)
}

// The server stops in time while many sessions send as fast as they can and do not read.
func TestStopUnderFlood(t *testing.T) {
	server, clients := star(t, 3)
	before := tables(t, server)
	bin := plainBuild(t)
	srv := bin.start(t, server, "serve", "--plain", "--token", token, "--state", t.TempDir(),
		"--network", "10.1.0.0/20", "--max-sessions", "0")
	srv.WaitFor("listening on ", soon)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	over := startLoad(ctx, t, clients, []string{token}, memoryLoad{framing: "ip", data: smallPings})
	pause(ctx, attackTime/2)
	stopInTime(t, srv)
	untouched(t, server, before)
	<-over
}

// A client stops in time while it waits for an answer to its dial.
func TestStopWhileDialling(t *testing.T) {
	server, client, router := routed(t)
	before := tables(t, client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain", "--ping-interval", "500ms")
	cl := bin.connect(t, client, routedURL)
	router.Run("ip", "route", "add", "blackhole", "203.0.113.1/32")
	router.Sysctl("net.ipv4.ip_forward", "0") // without an ICMP error
	cl.WaitFor("down: ", soon)
	eventually(t, "the client dials", func() bool {
		return client.Run("ss", "-Htn", "state", "syn-sent") != ""
	})
	stopInTime(t, cl)
	untouched(t, client, before)
}

// A client stops in time although its hooks do not end by themselves.
func TestStopDuringHooks(t *testing.T) {
	server, client := direct(t)
	before := tables(t, client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	cl := bin.connect(t, client, directURL, "--on-up", "echo on-up runs; sleep 1000", "--on-down",
		"echo on-down runs; sleep 1000")
	cl.WaitFor("on-up runs", soon)
	reaches(t, client, "10.1.1.1") // while the hook runs
	stopInTime(t, cl)
	cl.WaitFor("on-down runs", soon)
	untouched(t, client, before)
	for _, pid := range client.Pids() {
		t.Errorf("process %d is left on the client", pid)
	}
}
