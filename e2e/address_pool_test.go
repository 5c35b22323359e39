package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// A /29 has room for two clients; the third is refused.
func TestSmallPool(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 3)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain", "--network", "10.5.5.0/29")
	state := t.TempDir()
	one := bin.connect(t, clients[0], directURL, "--state", state)
	wantLines(t, "stdout of connect", one.Stdout(),
		"up: dev tun0, address 10.5.5.3 peer 10.5.5.4, network 10.5.5.0/29, mtu 1400")
	two := bin.connect(t, clients[1], directURL)
	wantLines(t, "stdout of connect", two.Stdout(),
		"up: dev tun0, address 10.5.5.5 peer 10.5.5.6, network 10.5.5.0/29, mtu 1400")
	before := tables(t, clients[2])
	if code := bin.startConnect(t, clients[2], directURL).Wait(soon); code != 9 {
		t.Errorf("exit code of the third client %d, want 9", code)
	}
	untouched(t, clients[2], before)

	// The address of a client that left is reserved for it for some time.
	stop(t, one)
	three := bin.startConnect(t, clients[2], directURL)
	if code := three.Wait(soon); code != 9 || !strings.Contains(three.Stderr(),
		"no free address pair in 10.5.5.0/29: the next one in ") {
		t.Errorf("exit code of the third client %d, want 9\n%s", code, three.Stderr())
	}
	bin.connect(t, clients[0], directURL, "--state", state).WaitFor("address 10.5.5.3 ", soon)
	reaches(t, clients[0], "10.5.5.1")
}

// A client asks for the address of another one.
func TestAddressTaken(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	bin.connect(t, clients[0], directURL, "--address", "10.1.1.9")
	before := tables(t, clients[1])
	for _, address := range []string{"10.1.1.9", "10.1.1.1", "10.1.1.255", "10.2.2.3"} {
		_, stderr, code := clients[1].TryCommand(bin.command(clients[1], "connect", "--token",
			token, "--state", t.TempDir(),
			"--log-level", "error", "--address", address, directURL))
		if code != 9 || !strings.HasPrefix(stderr, "tunnel: address: ") || strings.Count(stderr,
			"\n") != 1 {
			t.Errorf("--address %s: exit code %d, want 9\n%s", address, code, stderr)
		}
		untouched(t, clients[1], before)
	}
}

// A network without room for a client is refused.
func TestNetworkTooSmall(t *testing.T) {
	t.Parallel()
	server, _ := direct(t)
	before := tables(t, server)
	bin := plainBuild(t)
	for _, network := range []string{"10.1.1.0/30", "10.1.1.0/31", "10.1.1.0/32"} {
		_, stderr, code := server.TryCommand(bin.command(server, "serve", "--plain", "--token",
			token,
			"--state", t.TempDir(), "--network", network, "--log-level", "error"))
		if code != 2 || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, network) {
			t.Errorf("--network %s: exit code %d, want 2 and a line about it\n%s", network, code,
				stderr)
		}
		untouched(t, server, before)
	}
}

// More than half of a /24's pairs are in use at once, each by a client process on a host of its
// own.
func TestManyClients(t *testing.T) {
	t.Parallel()
	const n = 70
	server, clients := star(t, n)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	for _, c := range clients {
		bin.startConnect(t, c, directURL)
	}
	for i := range n {
		address := addressOf(i)
		eventually(t, address+" answers", func() bool {
			_, _, code := server.Try("ping", "-n", "-c1", "-W1", address)
			return code == 0
		})
	}
	addresses := map[string]string{}
	for _, c := range clients {
		address := tunAddress(t, c)
		if other, taken := addresses[address]; taken {
			t.Errorf("%s and %s both have %s", other, c.Name(), address)
		}
		addresses[address] = c.Name()
		if _, stderr, code := c.Try("ping", "-n", "-c1", "-W5", "10.1.1.1"); code != 0 {
			t.Errorf("%s does not reach the server: %s", c.Name(), stderr)
		}
	}
	if len(addresses) != n {
		t.Errorf("%d addresses for %d clients", len(addresses), n)
	}
}

// tunAddress returns the IPv4 address of a host's tun0.
func tunAddress(t *testing.T, h *lab.Host) string {
	t.Helper()
	var links []struct {
		Info []struct{ Local string } `json:"addr_info"`
	}
	out := h.Run("ip", "-j", "-4", "addr", "show", "dev", "tun0")
	if err := json.Unmarshal([]byte(out), &links); err != nil || len(links) != 1 ||
		len(links[0].Info) != 1 {
		t.Fatalf("tun0 of %s: %v\n%s", h.Name(), err, out)
	}
	return links[0].Info[0].Local
}

// All 126 pairs of a /24 are assigned, and each client answers a ping; the 127th is refused.
func TestFullPool(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := raceBuild(t)
	bin.serve(t, server, "--plain")
	const pairs = 126
	seen := map[string]bool{}
	var last *rawClient
	for range pairs {
		last = dialRaw(t, client, directURL)
		last.connect()
		seen[last.address] = true
		go last.answer()
	}
	for i := range pairs {
		if address := addressOf(i); !seen[address] {
			t.Errorf("no client got %s", address)
		} else if out, _, code := server.Try("ping", "-n", "-c1", "-W5", address); code != 0 {
			t.Errorf("%s does not answer\n%s", address, out)
		}
	}
	over := dialRaw(t, client, directURL)
	over.send(`{"state":"connect","version":1,"framings":["ip"]}`)
	if ce := over.closed(); ce.Code == 0 || !strings.Contains(ce.Reason, "10.1.1.0/24") {
		t.Errorf("the client over the limit was closed with code %d, reason %q", ce.Code, ce.Reason)
	}
	_ = last.conn.CloseNow()
	back := dialRaw(t, client, directURL)
	back.send(`{"state":"connect","version":1,"framings":["ip"],"session":"` + last.session + `"}`)
	if _, data, err := back.conn.Read(t.Context()); err != nil || !strings.Contains(string(data),
		`"`+last.address+`"`) {
		t.Errorf("who left came back to %s, %v", data, err)
	}
}
