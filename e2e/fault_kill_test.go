package e2e

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// leftMessage is logged by the server when a client has disconnected.
const leftMessage = "msg=disconnected"

// slack is added to a time limit of the program, for a busy machine.
const slack = 3 * time.Second

// device identifies a host's device of this name. The value changes when the device is made again.
func device(h *lab.Host, dev string) string {
	return strings.TrimSpace(h.Run("cat", "/sys/class/net/"+dev+"/ifindex"))
}

// The server is killed during a TCP transfer and started again: the client reconnects with the same
// device and address, and the transfer completes.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	client := clients[0]
	before := tables(t, server)
	bin := raceBuild(t)
	flags := []string{"--plain", "--ping-interval", "1s", "--state", t.TempDir()}
	srv := bin.serve(t, server, flags...)
	bin.connect(t, clients[1], directURL) // so the address below is not the first of the pool
	cl := bin.connect(t, client, directURL)
	index := device(client, "tun0")
	reaches(t, client, "10.1.1.1")

	const half = 4 << 20
	data := randomBytes(2 * half)
	receiver := server.Start("sh", "-c", "nc -d -l 10.1.1.1 9000 | sha256sum")
	listening(t, server, 9000)
	sender := client.Command("nc", "-N", "10.1.1.1", "9000")
	input, err := sender.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	sending := client.StartCommand(sender)
	if _, err := input.Write(data[:half]); err != nil {
		t.Fatal(err)
	}

	srv.Kill()
	cl.WaitFor("down: ", soon)
	// The worker has the device, and ends after its parent.
	eventually(t, "the device of a killed server is gone", func() bool {
		return !strings.Contains(server.Run("ip", "-o", "link"), "tun0")
	})
	written := make(chan error, 1)
	go func() {
		_, err := input.Write(data[half:])
		if closeErr := input.Close(); err == nil {
			err = closeErr
		}
		written <- err
	}()
	srv = bin.serve(t, server, flags...)
	cl.WaitForNth("up: ", 2, soon)
	if ups := stdoutLines(cl, "up: "); ups[0] != ups[1] || !strings.Contains(ups[0],
		"address 10.1.1.5 ") {
		t.Errorf("the client came back differently: %q", ups)
	}
	if now := device(client, "tun0"); now != index {
		t.Errorf("the client's device has index %s, had %s", now, index)
	}
	select {
	case err := <-written:
		if err != nil {
			t.Errorf("the transfer broke: %v", err)
		}
	case <-time.After(2 * soon):
		t.Fatal("the transfer hangs")
	}
	sending.Wait(2 * soon)
	receiver.Wait(2 * soon)
	if !strings.HasPrefix(receiver.Stdout(), sha(data)) {
		t.Errorf("checksum %q, want %s", receiver.Stdout(), sha(data))
	}
	reaches(t, server, "10.1.1.5")
	reaches(t, clients[1], "10.1.1.1")
	stop(t, srv)
	untouched(t, server, before)
}

// The server's process is stopped: the client notices within two ping intervals, and reconnects
// when the server continues.
func TestServerSilent(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	const interval = 2 * time.Second
	srv := bin.serve(t, server, "--plain", "--ping-interval", interval.String())
	cl := bin.connect(t, client, directURL)
	index := device(client, "tun0")

	srv.Signal(syscall.SIGSTOP)
	begin := time.Now()
	cl.WaitFor("down: ", soon)
	if took := time.Since(begin); took > 2*interval+slack {
		t.Errorf("noticed after %v, want at most two intervals of %v", took, interval)
	}
	srv.Signal(syscall.SIGCONT)
	cl.WaitForNth("up: ", 2, 2*soon)
	eventually(t, "the server is reached again", func() bool {
		_, _, code := client.Try("ping", "-n", "-c1", "-W1", "10.1.1.1")
		return code == 0
	})
	if now := device(client, "tun0"); now != index {
		t.Errorf("the client's device has index %s, had %s", now, index)
	}
}

// A client's cable is unplugged: the server notices within two ping intervals, and the client
// reconnects when it is plugged in.
func TestClientVanishes(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	client := clients[0]
	bin := plainBuild(t)
	const interval = 2 * time.Second
	srv := bin.serve(t, server, "--plain", "--ping-interval", interval.String())
	cl := bin.connect(t, client, directURL)
	bin.connect(t, clients[1], directURL)

	client.Run("ip", "link", "set", "dev", "eth0", "down")
	begin := time.Now()
	srv.WaitFor(leftMessage, soon)
	if took := time.Since(begin); took > 2*interval+slack {
		t.Errorf("noticed after %v, want at most two intervals of %v", took, interval)
	}
	cl.WaitFor("down: ", soon)
	reaches(t, clients[1], "10.1.1.1")
	client.Run("ip", "link", "set", "dev", "eth0", "up")
	cl.WaitForNth("up: ", 2, 2*soon)
	reaches(t, server, "10.1.1.3")
}

// A client's process is stopped: the server notices, and other clients are not affected.
func TestClientStopped(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	bin := plainBuild(t)
	const interval = 2 * time.Second
	srv := bin.serve(t, server, "--plain", "--ping-interval", interval.String())
	cl := bin.connect(t, clients[0], directURL)
	bin.connect(t, clients[1], directURL)
	cl.Signal(syscall.SIGSTOP)
	begin := time.Now()
	// Packets for the silent client do not delay others.
	flood(t, server, "10.1.1.3")
	sendFile(t, clients[1], server, "10.1.1.1", 1<<20)
	srv.WaitFor(leftMessage, soon)
	if took := time.Since(begin); took > 2*interval+slack {
		t.Errorf("noticed after %v, want at most two intervals of %v", took, interval)
	}
	cl.Signal(syscall.SIGCONT)
	cl.WaitForNth("up: ", 2, 2*soon)
	reaches(t, server, "10.1.1.3")
}

// A client's connection is reset repeatedly under traffic: it reconnects each time.
func TestConnectionsCut(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := raceBuild(t)
	bin.serve(t, server, "--plain", "--ping-interval", "1s")
	cl := bin.connect(t, client, directURL)
	traffic := server.Start("ping", "-q", "-n", "-i0.01", "10.1.1.3")
	for i := range 4 {
		client.Run("ss", "-K", "dst", directServer, "dport", "=", "8443")
		cl.WaitForNth("up: ", i+2, soon)
	}
	traffic.Signal(syscall.SIGINT)
	traffic.Wait(soon)
	for _, line := range stdoutLines(cl, "up: ") {
		if !strings.Contains(line, "address 10.1.1.3 peer 10.1.1.4,") {
			t.Errorf("came back as %q", line)
		}
	}
	reaches(t, server, "10.1.1.3")
}

// After a client was killed, the next start removes what it left.
func TestClientKilledThenStarted(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	before := tables(t, client)
	bin := raceBuild(t)
	bin.serve(t, server, "--plain", "--ping-interval", "1s")
	state := t.TempDir()
	cl := bin.connect(t, client, routedURL, "--state", state)
	cl.Kill()
	const bypass = "203.0.113.1 via 10.77.0.1 dev eth0"
	if n := countRoutes(routes(client), bypass); n != 1 {
		t.Fatalf("%d routes to the server after the kill, want the stale one: %q", n,
			routes(client))
	}
	if len(journals(t, client)) != 1 {
		t.Fatalf("journals after the kill: %q, want one", journals(t, client))
	}
	cl = bin.connect(t, client, routedURL, "--state", state)
	if n := countRoutes(routes(client), bypass); n != 1 {
		t.Errorf("%d routes to the server, want one: %q", n, routes(client))
	}
	wantCommands(t, cl, // the stale route is removed
		"ip -4 r d 203.0.113.1/32 via 10.77.0.1 dev eth0",
		"ip -4 r a 203.0.113.1/32 via 10.77.0.1 dev eth0",
		"ip link set dev tun0 up mtu 1400 qlen 100")
	reaches(t, client, "10.1.1.1")
	stop(t, cl)
	untouched(t, client, before)
}

// `tunnel cleanup` removes what a killed client and a killed server have left, does not touch a
// live run, and has nothing to do the second time.
func TestCleanup(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	before := tables(t, client)
	bin := raceBuild(t)
	srv := bin.serve(t, server, "--plain", "--ping-interval", "1s")
	cl := bin.connect(t, client, routedURL)

	tablesWithoutIndexes := tables(t, client)
	if out, stderr, code := client.TryCommand(bin.command(client, "cleanup")); code != 0 {
		t.Errorf("cleanup beside a living run: exit code %d\n%s%s", code, out, stderr)
	}
	if now := tables(t, client); now != tablesWithoutIndexes {
		t.Errorf("cleanup took from a living run\n%s\nnow\n%s", tablesWithoutIndexes, now)
	}
	reaches(t, client, "10.1.1.1")

	cl.Kill()
	for i := range 2 {
		if out, stderr, code := client.TryCommand(bin.command(client, "cleanup")); code != 0 {
			t.Errorf("cleanup %d: exit code %d\n%s%s", i, code, out, stderr)
		}
		untouched(t, client, before)
	}

	// The live server, in a namespace of its own, is not affected.
	wantLines(t, "ip route on the server", server.Run("ip", "-4", "route"),
		"10.1.1.0/24 via 10.1.1.2 dev tun0")
	srv.Kill()
	if out, stderr, code := server.TryCommand(bin.command(server, "cleanup")); code != 0 {
		t.Errorf("cleanup on the server: exit code %d\n%s%s", code, out, stderr)
	}
	if left := journals(t, server); len(left) > 0 {
		t.Errorf("journals of the server are left: %q", left)
	}
}

// Clients are killed at increasing delays after their start: cleanup repairs each.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	before := tables(t, client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	for i := range 16 {
		cl := bin.startConnect(t, client, routedURL)
		time.Sleep(time.Duration(8*i) * time.Millisecond)
		cl.Kill()
		if out, stderr, code := client.TryCommand(bin.command(client, "cleanup")); code != 0 {
			t.Errorf("cleanup: exit code %d\n%s%s", code, out, stderr)
		}
		// The device goes with the worker, which the kernel ends a moment after its parent.
		within(t, 2*time.Second, "the device goes", func() bool { return tables(t, client) == before })
		untouched(t, client, before)
	}
}

// Clients get SIGTERM at increasing delays after their start: each leaves nothing.
func TestStoppedAtAnyMoment(t *testing.T) {
	t.Parallel()
	server, client, _ := routed(t)
	before := tables(t, client)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	for i := range 16 {
		cl := bin.startConnect(t, client, routedURL)
		time.Sleep(time.Duration(10+8*i) * time.Millisecond)
		cl.Signal(syscall.SIGTERM)
		// Until the program handles SIGTERM, the signal ends it (code -1).
		if code := cl.Wait(soon); code != 0 && code != -1 {
			t.Errorf("SIGTERM at moment %d: exit code %d\n%s", i, code, cl.Stderr())
		}
		untouched(t, client, before)
	}
}

// A client with --keep-trying starts before the server, as at boot.
func TestKeepTrying(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	cl := bin.startConnect(t, client, directURL, "--keep-trying")
	cl.WaitFor("refused", soon)
	bin.serve(t, server, "--plain")
	cl.WaitFor("up: ", 2*soon)
	reaches(t, client, "10.1.1.1")
}

// A client does not read from its socket while the server has much to send to it: another client's
// traffic goes on.
func TestClientReadsNothing(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	bin := raceBuild(t)
	bin.serve(t, server, "--plain")
	deaf := dialRaw(t, clients[0], directURL)
	deaf.connect()
	bin.connect(t, clients[1], directURL)
	for range 3 {
		flood(t, server, deaf.address)
		reaches(t, clients[1], "10.1.1.1")
		sendFile(t, server, clients[1], addressOf(1), 2<<20)
	}
}

// flood sends 16 MB of datagrams from a host to an address: more than the buffers of a connection
// hold, and slowly enough for the device's queue.
func flood(t *testing.T, h *lab.Host, address string) {
	t.Helper()
	conn, err := h.DialContext(t.Context(), "udp", address+":9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	payload := make([]byte, 1300)
	for range 16 << 20 / (20 * len(payload)) {
		for range 20 {
			// No process listens there, and a client that is being stopped may still pass on an
			// ICMP "port unreachable".
			if _, err := conn.Write(payload); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
				t.Fatalf("flood %s: %v", address, err)
			}
		}
		time.Sleep(time.Millisecond)
	}
}
