package transport

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"tunnel/packet"
)

// What an unauthenticated client sends before it is connected reaches these two parsers and nothing
// else.

func FuzzConnect(f *testing.F) {
	for _, seed := range []string{
		`{"state":"connect","version":1,"framings":["ip"]}`,
		`{"state":"connect","version":1,"framings":["vnet","ip"],"address":"10.1.1.3",` +
			`"session":"c2VjcmV0","more":{"x":[1,null]}}`,
		`{"state":"connect","version":1,"framings":["pigeon"]}`,
		`{"state":"connect","version":99999999999999999999,"framings":["ip"]}`,
		`{"state":"connected","version":1,"framings":["ip"]}`,
		`{"state":"connect","version":1,"framings":["ip"],"address":"::ffff:10.1.1.3%eth0"}`,
		`{"STATE":"connect","state":"","version":1.0,"framings":null}`,
		`{"state":"connect","version":1,"framings":["ip"]}{}`,
		"{\"state\":\"connect\",\"version\":1,\"framings\":[\"ip\"],\"session\":\"\xff\\ud800\"}",
		`{"state":"connect","version":1,"framings":["ip"],"can":["update"],` +
			`"advertise":["192.168.7.0/24","fd07::/48"]}`,
		`{"state":"connect","version":1,"framings":["ip"],"can":null,` +
			`"advertise":["192.168.7.1/24",null,"::ffff:0:0/96"]}`,
		`[[[[[[[[`, `null`, ``, `"connect"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseConnect(data, packet.Offload{Vnet: true})
		if err != nil {
			fitsReason(t, err)
			return
		}
		if m.State != MessageConnect || m.Version != Version || !slices.ContainsFunc(m.Framings,
			func(s string) bool { return s != "" }) {
			t.Errorf("%q is taken for %+v", data, m)
		}
		if a := m.Wanted(); a.IsValid() && m.Address == "" {
			t.Errorf("%q wants %v", data, a)
		}
		if len(m.Advertise) > MaxAdvertise || slices.ContainsFunc(m.Advertise,
			func(p netip.Prefix) bool { return !p.IsValid() || p != p.Masked() }) {
			t.Errorf("%q advertises %v", data, m.Advertise)
		}
	})
}

func FuzzConnected(f *testing.F) {
	for _, seed := range []string{
		`{"state":"connected","version":1,"address":"10.1.1.3","peer":"10.1.1.4",` +
			`"network":"10.1.1.0/24","mtu":1400,"qlen":100,"framing":"ip","keepalive":20,` +
			`"session":"c2VjcmV0"}`,
		`{"state":"connected","version":1,"address":"10.1.1.3","peer":"10.1.1.4",` +
			`"network":"10.1.1.99/8","mtu":65535,"qlen":1,"framing":"vnet","keepalive":0.1,` +
			`"routes":[]}`,
		`{"state":"connected","version":1,"address":"::ffff:10.1.1.3","peer":"10.1.1.3",` +
			`"network":"0.0.0.0/0","mtu":575,"qlen":0,"framing":"","keepalive":1e308}`,
		`{"state":"connected","version":1,"address":"10.1.1.3","peer":"10.1.1.4",` +
			`"network":"10.1.1.0/24","mtu":1400,"qlen":9223372036854775807,"framing":"ip",` +
			`"keepalive":-1e308}`,
		`{"state":"connected","version":1,"address":"10.1.1.3","peer":"10.1.1.4",` +
			`"network":"10.1.1.0/24","mtu":1400,"qlen":100,"framing":"ip","keepalive":20,` +
			`"session":"c2VjcmV0","credential":"tnl_x\r\nHost: y"}`,
		`{"state":"connected","version":2}`,
		`{"state":"connect"}`,
		`{"state":"connected","mtu":"1400"}`,
		`{"state":"connected","keepalive":1e999}`,
		`null`, ``, `{}{}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseConnected(data, []string{framingIP, FramingVnet})
		if err != nil {
			fitsReason(t, err)
			return
		}
		l, err := m.Link()
		if err != nil {
			if l != (Link{}) {
				t.Errorf("%q: %v, and yet %+v", data, err, l)
			}
			return
		}
		if m.State != MessageConnected || !l.Address.Is4() || !l.Peer.Is4() ||
			l.Address == l.Peer || !l.Network.Addr().Is4() ||
			!l.Network.Contains(l.Address) || !l.Network.Contains(l.Peer) ||
			l.MTU < MinMTU || l.MTU > MaxMTU || l.Qlen < 1 || l.Qlen > math.MaxInt32 ||
			l.Keepalive < MinKeepalive || l.Keepalive > MaxKeepalive || m.Framing == "" ||
			strings.ContainsAny(l.Credential, "\r\n \x00") {
			t.Errorf("%q is taken for %+v", data, l)
		}
	})
}

// fitsReason checks that an error's text can be the reason in a close frame.
func fitsReason(t *testing.T, err error) {
	t.Helper()
	if text := err.Error(); text == "" || len(text) > 123 || !utf8.ValidString(text) {
		t.Errorf("%q cannot be the reason in a close frame", text)
	}
}
