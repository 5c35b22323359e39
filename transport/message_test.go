package transport_test

import (
	"strings"
	"testing"
	"time"

	"tunnel/transport"
)

func TestLink(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*transport.Connected)
		want   string // part of the error; "" for none
	}{
		"as it is":    {func(*transport.Connected) {}, ""},
		"least mtu":   {func(m *transport.Connected) { m.MTU = transport.MinMTU }, ""},
		"largest mtu": {func(m *transport.Connected) { m.MTU = transport.MaxMTU }, ""},
		"shortest " +
			"keepalive": {
			func(m *transport.Connected) { m.Keepalive = transport.MinKeepalive.Seconds() }, ""},
		"longest " +
			"keepalive": {
			func(m *transport.Connected) { m.Keepalive = transport.MaxKeepalive.Seconds() }, ""},
		"no session": {func(m *transport.Connected) { m.Session = "" }, ""},
		"no address": {func(m *transport.Connected) { m.Address = "" }, "address: "},
		"a name": {func(m *transport.Connected) { m.Address = "client.example" },
			"address: "},
		"a prefix": {func(m *transport.Connected) { m.Address = "10.1.1.3/32" },
			"address: "},
		"no peer":    {func(m *transport.Connected) { m.Peer = "" }, "peer: "},
		"no network": {func(m *transport.Connected) { m.Network = "" }, "network: "},
		"an address for network": {func(m *transport.Connected) { m.Network = "10.1.1.0" },
			"network: "},
		"host bits": {func(m *transport.Connected) { m.Network = "10.1.1.9/24" },
			"host bits"},
		"longest session": {func(m *transport.Connected) {
			m.Session = strings.Repeat("x",
				64)
		}, ""},
		"session too long": {func(m *transport.Connected) {
			m.Session = strings.Repeat("x",
				65)
		}, "session: "},
		"credential too long": {func(m *transport.Connected) {
			m.Credential = strings.Repeat("x",
				257)
		}, "credential: "},
		"an IPv6 network": {func(m *transport.Connected) { m.Network = "fd00::/64" },
			"not one of network"},
		"an IPv6 address": {func(m *transport.Connected) { m.Address = "fd00::3" },
			"not one of network"},
		"a mapped address": {func(m *transport.Connected) { m.Address = "::ffff:10.1.1.3" },
			"not one of network"},
		"another network's": {func(m *transport.Connected) { m.Address = "192.168.1.1" },
			"not one of network"},
		"another network's peer": {func(m *transport.Connected) { m.Peer = "10.1.2.4" },
			"not one of network"},
		"the same twice": {func(m *transport.Connected) { m.Peer = m.Address },
			"not one of network"},
		"mtu too small": {func(m *transport.Connected) { m.MTU = transport.MinMTU - 1 },
			"mtu 575"},
		"mtu too large": {func(m *transport.Connected) { m.MTU = transport.MaxMTU + 1 },
			"mtu 65536"},
		"negative mtu":  {func(m *transport.Connected) { m.MTU = -1400 }, "mtu -1400"},
		"no qlen":       {func(m *transport.Connected) { m.Qlen = 0 }, "qlen 0"},
		"negative qlen": {func(m *transport.Connected) { m.Qlen = -1 }, "qlen -1"},
		"endless qlen": {func(m *transport.Connected) { m.Qlen = 1<<31 - 1 },
			"qlen 2147483647"},
		"no keepalive":       {func(m *transport.Connected) { m.Keepalive = 0 }, "keepalive"},
		"negative keepalive": {func(m *transport.Connected) { m.Keepalive = -20 }, "keepalive"},
		"keepalive too short": {func(m *transport.Connected) { m.Keepalive = 0.09 },
			"keepalive 90ms"},
		"keepalive too long": {func(m *transport.Connected) { m.Keepalive = 3601 },
			"keepalive 1h0m1s"},
		"endless keepalive": {func(m *transport.Connected) { m.Keepalive = 1e300 },
			"keepalive"},
	} {
		t.Run(name, func(t *testing.T) {
			m := answer()
			m.State, m.Version, m.Framing = "connected", transport.Version, "ip"
			test.change(&m)
			link, err := m.Link()
			if (err == nil) != (test.want == "") || err != nil &&
				!strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v; want %q", err, test.want)
			}
			if err == nil && (link.MTU != m.MTU || link.Qlen != m.Qlen ||
				link.Session != m.Session ||
				link.Keepalive != time.Duration(m.Keepalive*float64(time.Second))) {
				t.Errorf("%+v became %+v", m, link)
			}
		})
	}
}

// A server that sends no number of lanes allows one; a number above MaxLanes is reduced.
func TestLinkLanes(t *testing.T) {
	for said, want := range map[int]int{0: 1, -3: 1, 1: 1, 4: 4, 16: 16, 17: 16, 1 << 30: 16} {
		m := answer()
		m.Lanes = said
		if link, err := m.Link(); err != nil || link.Lanes != want {
			t.Errorf("%d: %d lanes, %v; want %d", said, link.Lanes, err, want)
		}
	}
}

func TestWanted(t *testing.T) {
	for in, want := range map[string]string{
		"10.1.1.3": "10.1.1.3", "": "invalid IP", "10.1.1": "invalid IP",
		"10.1.1.3/24": "invalid IP", "x": "invalid IP",
	} {
		if got := (transport.Connect{Address: in}).Wanted(); got.String() != want {
			t.Errorf("%q: %v; want %s", in, got, want)
		}
	}
}

// answer is a Connected that a client can use.
func answer() transport.Connected {
	return transport.Connected{
		Address: "10.1.1.3", Peer: "10.1.1.4", Network: "10.1.1.0/24",
		MTU: 1400, Qlen: 100, Keepalive: 20, Session: "secret",
	}
}
