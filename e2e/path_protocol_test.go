package e2e

import (
	"encoding/binary"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"nhooyr.io/websocket"
)

// python is Debian's interpreter, which has Debian's python3-websockets.
const python = "/usr/bin/python3"

// The documentation's Python client answers the server's ping and pings the server, without root
// and without a device.
func TestPythonClient(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	if out, stderr, code := client.Try(python, "-c", "import websockets"); code != 0 {
		t.Fatalf("python3-websockets is not installed: apt-get install python3-websockets\n%s%s",
			out, stderr)
	}
	text, err := os.ReadFile("client.py")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n >= 100 {
		t.Errorf("client.py has %d lines, want fewer than 100", n)
	}
	before := tables(t, client)
	bin := plainBuild(t)
	srv := bin.serve(t, server, "--plain", "--ping-interval", "1s")
	cmd := client.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python,
		"-", directURL+"/ws")
	cmd.Stdin = strings.NewReader(string(text)) // uid 65534 may not be able to read the file
	cmd.Env = append(cmd.Env, "TUNNEL_TOKEN="+token)
	py := client.StartCommand(cmd)
	line := py.WaitFor("connected", soon)
	for _, want := range []string{"10.1.1.3", "10.1.1.4", "10.1.1.0/24"} {
		if !strings.Contains(line, want) {
			t.Errorf("the client prints %q, want %s in it", line, want)
		}
	}
	reaches(t, server, "10.1.1.3")
	if out, stderr, code := server.Try("ping", "-n", "-c2", "-i0.2", "-W5", "-s1372",
		"10.1.1.3"); code != 0 {
		t.Errorf("a large ping is not answered\n%s%s", out, stderr)
	}
	py.WaitForNth("10.1.1.1 answers", 4, soon) // one a second, so longer than two ping intervals
	if strings.Contains(srv.Stderr(), leftMessage) {
		t.Errorf("the session did not last:\n%s", srv.Stderr())
	}
	if now := tables(t, client); now != before {
		t.Errorf("the client changed its host:\n%s\nnow\n%s", before, now)
	}
	py.Kill()
}

// Clients break the protocol in every way: each is told why and disconnected, and another client's
// traffic is not affected.
func TestHostileClients(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	bin := raceBuild(t)
	bin.serve(t, server, "--plain")
	good := bin.connect(t, clients[0], directURL)
	traffic := clients[0].Start("ping", "-n", "-i0.02", "10.1.1.1")
	transfer := startExchange(t, clients[0], server, "10.1.1.1")

	connected := func(c *rawClient) { c.connect() }
	initial := func(*rawClient) {}
	text := func(s string) func(*rawClient) { return func(c *rawClient) { c.send(s) } }
	binary := func(b []byte) func(*rawClient) {
		return func(c *rawClient) { c.write(websocket.MessageBinary, b) }
	}
	ping := echoRequest(t, "10.1.1.5", "10.1.1.1", 56)
	edit := func(change func(p []byte)) []byte {
		p := append([]byte(nil), ping...)
		change(p)
		return p
	}
	for _, test := range []struct {
		name      string
		before    func(*rawClient)
		misbehave func(*rawClient)
	}{
		{"no JSON", initial, text("hello")},
		{"half a message", initial, text(`{"state":"connect"`)},
		{"JSON of another shape", initial, text(`[1,2,3]`)},
		{"fields of other types", initial, text(`{"state":7,"version":"one","framings":{}}`)},
		{"no state", initial, text(`{"version":1,"framings":["ip"]}`)},
		{"an unknown state", initial, text(`{"state":"dance","version":1,"framings":["ip"]}`)},
		{"the server's state", initial,
			text(`{"state":"connected","version":1,"address":"10.1.1.1"}`)},
		{"an unknown version", initial,
			text(`{"state":"connect","version":2031,"framings":["ip"]}`)},
		{"no framing in common", initial,
			text(`{"state":"connect","version":1,"framings":["pigeon"]}`)},
		{"a huge control message", initial,
			text(`{"state":"connect","version":1,"framings":["ip"],"x":"` + long(200_000) + `"}`)},
		{"nested without end", initial, text(strings.Repeat("[", 15_000))},
		{"a batch before connected", initial, binary(ping)},
		{"connect twice", connected, text(`{"state":"connect","version":1,"framings":["ip"]}`)},
		{"an unknown state later", connected, text(`{"state":"dance"}`)},
		{"no JSON later", connected, text(`}`)},
		{"a record cut short", connected, binary(ping[:40])},
		{"a record cut inside its header", connected, binary(ping[:10])},
		{"one good record and a cut one", connected, binary(append(append([]byte(nil), ping...),
			ping[:30]...))},
		{"a record that is longer than it says", connected,
			binary(edit(func(p []byte) { p[3]-- }))},
		{"a record shorter than a header", connected,
			binary(edit(func(p []byte) { p[2], p[3] = 0, 8 }))},
		{"a record of length zero", connected, binary(edit(func(p []byte) { p[2], p[3] = 0, 0 }))},
		{"a header longer than its record", connected,
			binary(edit(func(p []byte) { p[0], p[3] = 0x4f, 40 }))},
		{"a header too short", connected, binary(edit(func(p []byte) { p[0] = 0x41 }))},
		{"an IP version that does not exist", connected,
			binary(edit(func(p []byte) { p[0] = 0xf5 }))},
		{"a message over the limit", connected, binary(append(edit(func(p []byte) { p[0] = 0xf5 }),
			make([]byte, 1<<20)...))},
	} {
		c := dialRaw(t, clients[1], directURL)
		test.before(c)
		test.misbehave(c)
		if ce := c.closed(); ce.Code == 0 || ce.Reason == "" {
			t.Errorf("%s: closed with code %d and reason %q", test.name, ce.Code, ce.Reason)
		} else {
			t.Logf("%s: closed with code %d, %s", test.name, ce.Code, ce.Reason)
		}
		reaches(t, clients[0], "10.1.1.1")
	}

	// Unusual, but allowed: these sessions stay.
	c := dialRaw(t, clients[1], directURL)
	c.connect()
	c.write(websocket.MessageBinary, nil)
	c.write(websocket.MessageBinary, echoRequest(t, "10.9.9.9", "10.1.1.1", 0))  // dropped
	c.write(websocket.MessageBinary, echoRequest(t, c.address, "192.0.2.1", 10)) // dropped
	six := make([]byte, 40)
	six[0] = 0x60
	c.write(websocket.MessageBinary, six) // dropped: this network has no IPv6
	go c.answer()
	reaches(t, server, c.address)

	transfer.finish()
	traffic.WaitFor("icmp_seq=", soon)
	traffic.Signal(os.Interrupt)
	traffic.Wait(soon)
	// The last ones may be on their way, and a busy machine's queue may drop a few.
	all := regexp.MustCompile(`icmp_seq=(\d+)`).FindAllStringSubmatch(traffic.Stdout(), -1)
	last, err := strconv.Atoi(all[len(all)-1][1])
	if lost := last - len(all); err != nil || lost > last/50 {
		t.Errorf("the other client lost %d packets of %d, %v", lost, last, err)
	}
	if n := len(stdoutLines(good, "down: ")); n > 0 {
		t.Errorf("the other client lost its connection:\n%s", good.Stderr())
	}
}

// Many packets in one message are all answered.
func TestManyPacketsInOneMessage(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := raceBuild(t)
	bin.serve(t, server, "--plain")
	c := dialRaw(t, client, directURL)
	c.connect()
	const n = 40
	var batch []byte
	for i := range n {
		batch = append(batch, echoRequest(t, c.address, "10.1.1.1", i)...)
	}
	c.write(websocket.MessageBinary, batch)
	lengths := map[int]bool{}
	for len(lengths) < n {
		_, data, err := c.conn.Read(t.Context())
		if err != nil {
			t.Fatalf("%d of %d answers: %v", len(lengths), n, err)
		}
		for len(data) > 0 {
			size := int(binary.BigEndian.Uint16(data[2:]))
			if size < 28 || size > len(data) {
				t.Fatalf("a malformed record: %x", data)
			}
			if data[20] == 0 {
				lengths[size] = true
			}
			data = data[size:]
		}
	}
}

// Requests without the right token, path or headers are refused before the upgrade.
func TestUnauthenticatedAreRefused(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	upgrade := []string{"-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H",
		"Sec-WebSocket-Version: 13",
		"-H", "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==", "-H",
		"Sec-WebSocket-Protocol: tunnel.v1"}
	for _, test := range []struct {
		name, path string
		header     []string
		want       string
	}{
		{"no token", "/ws", upgrade, "401"},
		{"a wrong token", "/ws", append([]string{"-H", "Authorization: Bearer wrong"}, upgrade...),
			"401"},
		{"part of the token", "/ws", append([]string{"-H", "Authorization: Bearer " + token[:8]},
			upgrade...), "401"},
		{"another scheme", "/ws", append([]string{"-u", "user:" + token}, upgrade...), "401"},
		{"another path", "/", append([]string{"-H", "Authorization: Bearer " + token}, upgrade...),
			"404"},
		{"no upgrade", "/ws", []string{"-H", "Authorization: Bearer " + token}, "404"},
	} {
		argv := append([]string{"curl", "-sS", "-o", "/dev/null", "-m", "10", "-w", "%{http_code}"},
			test.header...)
		out, stderr, _ := client.Try(append(argv, fmt.Sprintf("http://%s:8443%s", directServer,
			test.path))...)
		if out != test.want {
			t.Errorf("%s: answer %s, want %s\n%s", test.name, out, test.want, stderr)
		}
	}
}

// Connections that send nothing, or nothing after the upgrade, are closed.
func TestSilentConnectionsEnd(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	silent, err := client.DialContext(t.Context(), "tcp", directServer+":8443")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := dialRaw(t, client, directURL) // without a connect message
	if ce := c.closed(); ce.Reason == "" {
		t.Errorf("closed with code %d and no reason", ce.Code)
	}
	if n, err := silent.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("a connection without a request got %d bytes (%v)", n, err)
	}
}
