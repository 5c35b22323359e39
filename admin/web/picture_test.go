package web

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"tunnel/server"
)

// The picture has behind each client what it advertises; what its token allows and nobody
// advertises is dashed; and of very many networks it has some.
func TestPicture(t *testing.T) {
	h := newHub(3)
	network := netip.MustParsePrefix
	// the second has the token of the first
	h.status.Peers[1].Name = "laptop"
	h.tokens = append(h.tokens[:1:1], h.tokens[2])
	h.tokens[0].Routes = []netip.Prefix{network("192.168.7.0/24"), network("192.168.8.0/24"),
		network("10.8.0.0/16")}
	h.status.Peers[0].Networks = []netip.Prefix{network("192.168.7.0/24")}
	h.status.Peers[1].Networks = []netip.Prefix{network("10.8.1.0/24")}
	behind := networksBehind(sample{hub: h.status, tokens: h.tokens})
	at := func(i int) string { return fmt.Sprint(behind[h.status.Peers[i].Address.String()]) }
	if want := "[{network 192.168.7.0/24 behind laptop} " +
		"{network away 192.168.8.0/24 not advertised}]"; at(0) != want {
		t.Errorf("behind the first: %s, want %s", at(0), want)
	}
	if want := "[{network 10.8.1.0/24 behind laptop}]"; at(1) != want {
		t.Errorf("behind the second: %s, want %s", at(1), want)
	}
	if at(2) != "[]" {
		t.Errorf("behind the third: %s", at(2))
	}
	text := loggedIn(t, newPage(h)).see("/")
	if strings.Count(text, `<g class="node network away">`) != 2 ||
		strings.Count(text, `<g class="node network">`) != 4 {
		t.Errorf("the picture is\n%s", text)
	}
}

func TestLargePicture(t *testing.T) {
	h := newHub(maxNodes)
	for i := range h.status.Peers {
		for n := range 256 {
			h.status.Peers[i].Networks = append(h.status.Peers[i].Networks,
				netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i), byte(n)}), 32))
		}
	}
	h.tokens = []server.TokenStatus{}
	text := loggedIn(t, newPage(h)).see("/")
	if n := strings.Count(text, `<g class="node network">`); n != 2*maxNodes*(maxBehind-1) {
		t.Errorf("%d networks", n)
	}
	if n := strings.Count(text, ">253 more<"); n != 2*maxNodes || len(text) > 256<<10 {
		t.Errorf("%d times more, %d bytes", n, len(text))
	}
}
