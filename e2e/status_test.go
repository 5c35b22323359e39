package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tunnel/admin/status"
	"tunnel/e2e/lab"
)

// statusOf returns what `tunnel status --json` prints on a host.
func (p program) statusOf(t *testing.T, h *lab.Host, flags ...string) (r status.Report) {
	t.Helper()
	out := h.Run(append([]string{string(p), "status", "--json"}, flags...)...)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return r
}

// between fails the test unless n is what carries payload: that, and at most a tenth more.
func between(t *testing.T, what string, n uint64, payload int) {
	t.Helper()
	if n < uint64(payload) || n > uint64(payload)*11/10+64<<10 {
		t.Errorf("%s: %d bytes are counted of %d", what, n, payload)
	}
	t.Logf("%s: %d bytes are counted of %d", what, n, payload)
}

// controlSockets returns the control sockets of a host's clients.
func controlSockets(t *testing.T, h *lab.Host) []string {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/run/tunnel/*-c%d-*.control", h.Cookie()))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A client says how it is connected, and what it has sent, to root alone; and why it is not.
func TestStatusOfClient(t *testing.T) {
	t.Parallel()
	const payload = 20 << 20
	server, client := direct(t)
	bin := raceBuild(t)
	srv, line := bin.serveOwnKey(t, server, "--token-file", tokenFile(t), "--state", t.TempDir())
	pin := regexp.MustCompile(`sha256:\S+`).FindString(line)
	cl := bin.connect(t, client, "wss://"+directServer+":8443", "--pin", pin)
	sendFile(t, client, server, "10.1.1.1", payload)

	// the default directory may have another test's server
	r := bin.statusOf(t, client, "--state", filepath.Join(t.TempDir(), "none"))
	if len(r.Clients) != 1 || r.Hub != nil {
		t.Fatalf("found %+v", r)
	}
	c := r.Clients[0]
	between(t, "sent", c.Sent, payload)
	if c.State != status.Connected || c.Server != "wss://198.51.100.1:8443/ws" || c.Dev != "tun0" ||
		c.Address.String() != "10.1.1.3" || c.Path == nil || c.Path.Interface != "eth0" ||
		c.Path.Local.String() != "198.51.100.2" || c.Path.Remote.String() != directServer ||
		len(c.Connections) != 1 || c.Connections[0].TLS != "1.3" || c.Connections[0].RTT <= 0 ||
		c.Connections[0].Sent != c.Sent || c.Received == 0 || c.Received > payload/2 || c.KillSwitch {
		t.Errorf("the client is %+v, by %+v", c, c.Path)
	}
	for _, want := range []string{"client tun0: connected for ", "TLS 1.3 X25519MLKEM768",
		"wss://198.51.100.1:8443/ws", "eth0, 198.51.100.2 to 198.51.100.1", "kill switch  off"} {
		if out := client.Run(string(bin), "status", "--dev", "tun0"); !strings.Contains(out, want) {
			t.Errorf("status lacks %q:\n%s", want, out)
		}
	}
	if _, stderr, code := client.Try("setpriv", "--reuid", "65534", "--clear-groups", string(bin),
		"status", "--dev", "tun0"); code != 18 ||
		!strings.Contains(stderr, "root's are asked with sudo") {
		t.Errorf("another user: exit code %d\n%s", code, stderr)
	}

	if out := client.Run(string(bin), "status", "--check", "--dev", "tun0"); out !=
		"client tun0: connected\n" {
		t.Errorf("--check of a connected client prints %q", out)
	}

	watching := bin.start(t, client, "status", "--watch", "--json", "--dev", "tun0")
	watching.WaitForNth(`{"schema":1,`, 2, soon)
	stop(t, watching)

	stop(t, srv)
	eventually(t, "status says that there is no session", func() bool {
		c := bin.statusOf(t, client, "--dev", "tun0").Clients[0]
		return c.State == status.Connecting && c.Reason != "" && c.Lost == 1 && c.Path == nil &&
			c.Sent >= payload
	})
	out, stderr, code := client.Try(string(bin), "status", "--check", "--dev", "tun0")
	if code != 18 || out != "" ||
		!strings.HasPrefix(stderr, "tunnel: status: client tun0: not connected: ") {
		t.Errorf("--check of a client without a server: exit code %d\n%s%s", code, out, stderr)
	}
	cl.Kill()
	if len(controlSockets(t, client)) != 1 {
		t.Error("a killed client cannot have removed its socket")
	}
	eventually(t, "status finds no killed client", func() bool {
		_, stderr, code := client.Try(string(bin), "status", "--dev", "tun0")
		return code == 18 && strings.Contains(stderr, "--dev tun0")
	})
	client.Run(string(bin), "cleanup")
	if left := controlSockets(t, client); len(left) > 0 {
		t.Errorf("left after cleanup: %v", left)
	}
}

// A hub says who is connected, and what each has sent; who is kicked comes back in time.
func TestStatusOfHub(t *testing.T) {
	t.Parallel()
	const payload = 20 << 20
	server, clients := star(t, 2)
	bin := raceBuild(t)
	state := t.TempDir()
	srv := bin.start(t, server, "serve", "--plain", "--token", token, "--max-sessions", "0", "--state",
		state)
	srv.WaitFor("listening on ", soon)
	first := bin.connect(t, clients[0], directURL, "--lanes", "2")
	first.WaitFor("lane connected", soon)
	second := bin.connect(t, clients[1], directURL)
	sendFile(t, clients[0], server, "10.1.1.1", payload)

	hub := bin.statusOf(t, server, "--state", state).Hub
	if hub == nil || len(hub.Peers) != 2 || hub.Dev != "tun0" ||
		hub.Network.String() != "10.1.1.0/24" {
		t.Fatalf("the hub is %+v", hub)
	}
	busy, idle := hub.Peers[0], hub.Peers[1]
	between(t, "received", busy.Received, payload)
	if busy.Address.String() != "10.1.1.3" || !strings.HasPrefix(busy.Remote, "198.51.100.2:") ||
		len(busy.Connections) != 2 || busy.Connections[1].Lane != 1 || busy.Connections[0].RTT <= 0 ||
		idle.Address.String() != "10.1.1.5" || idle.Received > payload/100 {
		t.Errorf("the peers are %+v", hub.Peers)
	}
	if out := server.Run(string(bin), "status", "--check", "--state", state); out !=
		"server tun0: clients can be reached\n" {
		t.Errorf("--check of a hub prints %q", out)
	}
	server.Run("ip", "rule", "add", "to", "10.1.1.0/24", "priority", "10", "table", "4711")
	server.Run("ip", "route", "add", "blackhole", "10.1.1.0/24", "table", "4711")
	eventually(t, "--check says that clients cannot be reached", func() bool {
		_, stderr, code := server.Try(string(bin), "status", "--check", "--state", state)
		return code == 18 && strings.HasPrefix(stderr,
			"tunnel: status: server tun0: clients cannot be reached: ")
	})
	server.Run("ip", "rule", "del", "priority", "10")
	eventually(t, "--check says that clients can be reached again", func() bool {
		_, _, code := server.Try(string(bin), "status", "--check", "--state", state)
		return code == 0
	})
	out := server.Run(string(bin), "peers", "--state", state)
	for _, want := range []string{"10.1.1.3", "198.51.100.2:", "10.1.1.5", "ROUND TRIP"} {
		if !strings.Contains(out, want) {
			t.Errorf("peers lacks %q:\n%s", want, out)
		}
	}

	if out := server.Run(string(bin), "kick", "10.1.1.5", "--for", "1s", "--state", state); out !=
		"ended 1 session of 10.1.1.5, for 1s\n" {
		t.Errorf("kick printed %q", out)
	}
	second.WaitFor("the server's administrator ended the session: come back in 1 s (code 1012)", soon)
	second.WaitForNth("up: dev tun0, address 10.1.1.5", 2, soon)
	if _, stderr, code := server.Try(string(bin), "kick", "nobody", "--state", state); code != 2 ||
		!strings.Contains(stderr, "no such client is connected: nobody: see `tunnel peers`") {
		t.Errorf("kick of nobody: exit code %d\n%s", code, stderr)
	}
	if strings.Contains(first.Stdout(), "down: ") {
		t.Errorf("another client was kicked:\n%s", first.Stdout())
	}
}
