package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tunnel/e2e/lab"
	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/tcp"
	"tunnel/transport/ws"
)

// badHub is a hostile server that speaks the protocol. It listens on port 8443 of a host.
type badHub struct {
	grant func(n int) transport.Connected // returns what the nth connection is granted, from 0
	end   *transport.CloseError           // closes each connection at once; nil keeps it open

	mu       sync.Mutex
	connects []time.Time // the times at which connected was sent
}

// startBadHub starts a badHub on h, which ends with the test.
func startBadHub(t *testing.T, h *lab.Host, end *transport.CloseError,
	grant func(n int) transport.Connected) *badHub {
	t.Helper()
	hub := &badHub{grant: grant, end: end}
	var ln net.Listener
	err := h.Do(func() (err error) {
		ln, err = new(net.ListenConfig).Listen(context.Background(), "tcp", ":8443")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	web := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			group.Add(1)
			defer group.Done()
			if conn, err := ws.Accept(w, r, tcp.CongestionAuto); err == nil {
				//nolint:contextcheck // a visit outlives the request that it began as
				hub.serve(t.Context(), conn)
			}
		}),
		ConnContext: tcp.ConnContext, ReadHeaderTimeout: soon,
	}
	group.Go(func() { _ = web.Serve(tcp.Listener(ln, nil, nil)) })
	t.Cleanup(func() {
		_ = web.Close()
		group.Wait()
	})
	return hub
}

// serve handles one connection from its upgrade to its end.
func (hub *badHub) serve(ctx context.Context, conn *ws.Conn) {
	request, err := conn.Requested(ctx, packet.Offload{})
	if err != nil {
		return
	}
	hub.mu.Lock()
	n := len(hub.connects)
	hub.connects = append(hub.connects, time.Now())
	hub.mu.Unlock()
	if err := conn.Grant(ctx, request, hub.grant(n), packet.Offload{}); err != nil {
		return
	}
	if hub.end != nil {
		conn.Close(hub.end.Code, hub.end.Reason)
		return
	}
	stop := context.AfterFunc(ctx, conn.Cut)
	for err == nil {
		err = conn.ReadBatch(new(packet.Batch))
	}
	stop()
	conn.Close(transport.CodeNormal, "")
}

// served returns how many connections were made, and the shortest time between two.
func (hub *badHub) served() (times int, shortest time.Duration) {
	hub.mu.Lock()
	defer hub.mu.Unlock()
	shortest = time.Hour
	for i := 1; i < len(hub.connects); i++ {
		shortest = min(shortest, hub.connects[i].Sub(hub.connects[i-1]))
	}
	return len(hub.connects), shortest
}

// grants returns the connected message that grants this pair of a network.
func grants(network, address, peer string) transport.Connected {
	return transport.Connected{
		Network: network, Address: address, Peer: peer, MTU: 1400, Qlen: 100, Keepalive: 20,
		Session: "secret",
	}
}

// A hub grants networks that it must not choose for the client's machine. The client refuses them,
// says what to do, and changes nothing.
func TestBadNetworks(t *testing.T) {
	t.Parallel()
	hub, client, _ := routed(t)
	client.Hosts("203.0.113.1 server.example")
	resolvConf := filepath.Join("/etc/netns", client.NS(), "resolv.conf")
	if err := os.WriteFile(resolvConf, []byte("nameserver 10.53.0.2\nnameserver 198.51.100.53\n"),
		0o644); err != nil {
		t.Fatal(err)
	}
	// As in clouds that assign a /32: no other route contains the gateway.
	client.Run("ip", "route", "add", "192.0.2.128/25", "via", "172.31.1.1", "dev", "eth0", "onlink")
	var now transport.Connected
	startBadHub(t, hub, nil, func(int) transport.Connected { return now })
	bin := plainBuild(t)
	connect := []string{"connect", routedURL, "--token", token, "--state", t.TempDir()}
	for _, test := range []struct {
		name  string
		grant transport.Connected
		flags []string
		says  string
	}{
		{"a /31 with the resolver as the peer", grants("198.51.100.52/31", "198.51.100.52",
			"198.51.100.53"), nil, "198.51.100.52/31"},
		{"a /24 with the resolver", grants("198.51.100.0/24", "198.51.100.3", "198.51.100.4"), nil,
			"--network 198.51.100.0/24"},
		{"a private one with the resolver", grants("10.53.0.0/24", "10.53.0.3", "10.53.0.4"), nil,
			"DNS server 10.53.0.2"},
		{"a quarter of all addresses", grants("128.0.0.0/2", "128.0.0.3", "128.0.0.4"), nil,
			"128.0.0.0/2"},
		{"half of all addresses", grants("0.0.0.0/1", "10.1.1.3", "10.1.1.4"), nil, "0.0.0.0/1"},
		{"all addresses", grants("0.0.0.0/0", "10.1.1.3", "10.1.1.4"), nil, "0.0.0.0/0"},
		{"loopback", grants("127.9.9.0/24", "127.9.9.3", "127.9.9.4"), nil, "127.9.9.0/24"},
		{"the hub's own", grants("203.0.113.0/24", "203.0.113.3", "203.0.113.4"), nil, "203.0.113.0/24"},
		{"the hub's own, though accepted", grants("203.0.113.0/24", "203.0.113.3", "203.0.113.4"),
			[]string{"--network", "203.0.113.0/24"}, "overlaps the route 203.0.113.1/32"},
		{"the gateway's", grants("172.31.0.0/16", "172.31.0.3", "172.31.0.4"), nil, "gateway 172.31.1.1"},
		{"the client's link", grants("10.77.0.0/16", "10.77.9.3", "10.77.9.4"), nil, "10.77.0.0/24"},
		{"another than the accepted", grants("10.1.1.0/24", "10.1.1.3", "10.1.1.4"),
			[]string{"--network", "10.2.0.0/16,10.3.0.0/16"}, "accepted: 10.2.0.0/16, 10.3.0.0/16"},
		{"the hub's own pair", grants("10.1.1.0/24", "10.1.1.1", "10.1.1.2"), nil, "no client's pair"},
		{"a pair across pairs", grants("10.1.1.0/24", "10.1.1.4", "10.1.1.5"), nil, "no client's pair"},
		{"the broadcast address", grants("10.1.1.0/29", "10.1.1.7", "10.1.1.6"), nil, "no client's pair"},
	} {
		now = test.grant
		failure{name: test.name, args: append(slices.Clone(connect), test.flags...), code: 9,
			step: "address", says: test.says}.check(t, client, bin)
	}
	for _, test := range []struct {
		grant transport.Connected
		flags []string
	}{
		{grants("100.64.7.0/24", "100.64.7.3", "100.64.7.4"), nil},
		{grants("198.51.100.0/24", "198.51.100.3", "198.51.100.4"),
			[]string{"--network", "10.2.0.0/16", "--network", "198.51.0.0/16"}},
	} {
		now = test.grant
		proc := bin.connect(t, client, routedURL, test.flags...)
		if got := routes(client, "show", now.Network); len(got) != 1 ||
			got[0] != now.Network+" via "+now.Peer+" dev tun0" {
			t.Errorf("the routes to %s are %q", now.Network, got)
		}
		stop(t, proc)
	}
}

// A hub changes something with each connection and tells the client to reconnect at once. The
// client accepts the first choice and at most one change a minute, and never replaces addresses or
// routes of the machine.
func TestChangingHub(t *testing.T) {
	t.Parallel()
	const watched = 12 * time.Second
	pair := func(n int) transport.Connected { // a different pair each time
		host := 3 + 2*(n%100)
		return grants("10.1.1.0/24", fmt.Sprintf("10.1.1.%d", host), fmt.Sprintf("10.1.1.%d", host+1))
	}
	for name, grant := range map[string]func(n int) transport.Connected{
		"network": func(n int) transport.Connected {
			if n%2 == 1 {
				return grants("10.2.2.0/24", "10.2.2.3", "10.2.2.4")
			}
			return pair(0)
		},
		"the client's link": func(n int) transport.Connected {
			if n%2 == 1 {
				return grants("198.51.100.0/24", "198.51.100.3", "198.51.100.4")
			}
			return pair(0)
		},
		"pair": pair,
		"mtu": func(n int) transport.Connected {
			m := pair(0)
			m.MTU -= n
			return m
		},
		"session": func(n int) transport.Connected {
			m := pair(0)
			m.Session = fmt.Sprint("secret ", n)
			return m
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hubHost, client := direct(t)
			hub := startBadHub(t, hubHost, transport.ComeBack(0), grant)
			hooks := filepath.Join(t.TempDir(), "hooks")
			flags := []string{"--on-up", "echo up >>" + hooks, "--on-down", "echo down >>" + hooks}
			if name == "the client's link" {
				flags = append(flags, "--network", "198.51.100.0/24", "--network", "10.1.1.0/24")
			}
			link := routes(client, "show", "198.51.100.0/24")
			proc := plainBuild(t).startConnect(t, client, directURL, flags...)
			proc.WaitFor("up: ", soon)
			for end := time.Now().Add(watched); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				if now := routes(client, "show", "198.51.100.0/24"); !slices.Equal(now, link) {
					t.Fatalf("the routes to the link are %q, were %q", now, link)
				}
			}
			connects, shortest := hub.served()
			commands := strings.Count(proc.Stderr(), "msg=run ")
			text, _ := os.ReadFile(hooks)
			ran := strings.Count(string(text), "\n")
			seen := fmt.Sprintf("within %v: %d connections, %v apart at least, %d ip commands, %d hooks",
				watched, connects, shortest.Round(time.Millisecond), commands, ran)
			t.Log(seen)
			// 3 commands make the first configuration, up to 4 change it; a hook runs up, down and up.
			if connects < 3 || connects > 12 || shortest < 500*time.Millisecond || commands > 3+4 ||
				ran > 3 {
				t.Errorf("%s\n%s", seen, proc.Stderr())
			}
			changed := strings.Count(proc.Stderr(), `msg="the server changed `)
			if want := map[string]int{"network": 1, "pair": 1, "mtu": 1}[name]; changed != want {
				t.Errorf("%d lines say that the server has changed something, want %d\n%s", changed, want,
					proc.Stderr())
			}
			stop(t, proc)
		})
	}
}

// A hub sends a credential to every client. It never replaces a token of the user, not even in a
// later run.
func TestUnaskedCredential(t *testing.T) {
	t.Parallel()
	hubHost, client := direct(t)
	const id = "tnl_abcdefghij_"
	join, own := id+"join_"+strings.Repeat("a", 52), id+strings.Repeat("b", 52)
	var given string
	startBadHub(t, hubHost, nil, func(int) transport.Connected {
		m := grants("10.1.1.0/24", "10.1.1.3", "10.1.1.4")
		m.Credential = given
		return m
	})
	bin := plainBuild(t)
	for _, test := range []struct {
		name, token, given string
		kept               bool
	}{
		{"for a token of the user's own", token, "the-hub's-own-credential", false},
		{"for a lasting one, with its id", own, id + strings.Repeat("c", 52), false},
		{"for none", "", id + strings.Repeat("c", 52), false},
		{"for a join token, with another id", join, "tnl_jihgfedcba_" + strings.Repeat("c", 52), false},
		{"for a join token", join, own, true},
	} {
		given = test.given
		state := t.TempDir()
		args := []string{"connect", directURL, "--state", state}
		if test.token != "" {
			args = append(args, "--token", test.token)
		}
		proc := bin.start(t, client, args...)
		proc.WaitFor("up: ", soon)
		stop(t, proc)
		text, err := os.ReadFile(filepath.Join(state, "credential-tun0.json"))
		if kept := strings.Contains(string(text), test.given); kept != test.kept ||
			err != nil && !os.IsNotExist(err) {
			t.Errorf("%s: the file has %q, %v", test.name, text, err)
		}
		if said := strings.Contains(proc.Stderr(), "no join token: ignored"); said == test.kept {
			t.Errorf("%s: the log is\n%s", test.name, proc.Stderr())
		}
	}
	// A credential that the client got for its join token is not replaced.
	given = own
	state := t.TempDir()
	for range 2 {
		proc := bin.start(t, client, "connect", directURL, "--state", state, "--token", join)
		proc.WaitFor("up: ", soon)
		stop(t, proc)
		given = id + strings.Repeat("c", 52)
	}
	if text, err := os.ReadFile(filepath.Join(state, "credential-tun0.json")); err != nil ||
		!strings.Contains(string(text), own) {
		t.Errorf("the file has %q, %v", text, err)
	}
}
