package policy

import (
	"net/netip"
	"testing"

	"tunnel/packet"
	"tunnel/tun/tuntest"
)

// What a server says of paths counts only for packets that went into the tunnel.
func TestICMPErrorsOfServer(t *testing.T) {
	c := Client{Address: netip.MustParseAddr("10.1.1.3"),
		Network: netip.MustParsePrefix("10.1.1.0/24")}
	for quoted, want := range map[[2]string]Verdict{
		{"10.1.1.3", "10.1.1.1"}:     Pass,
		{"10.1.1.3", "198.51.100.1"}: ICMP,
		{"192.0.2.5", "10.1.1.1"}:    ICMP,
	} {
		ip := tuntest.SizedPacket("10.1.1.1", "10.1.1.3", 0, 60)
		ip[9], ip[20], ip[21] = 1, 3, 4
		ip[28] = 0x45
		copy(ip[28+12:], netip.MustParseAddr(quoted[0]).AsSlice())
		copy(ip[28+16:], netip.MustParseAddr(quoted[1]).AsSlice())
		var b packet.Batch
		tuntest.Add(&b, ip)
		if got := c.FromServer(&b, 0); got != want {
			t.Errorf("%v: %s; want %s", quoted, got, want)
		}
	}
}
