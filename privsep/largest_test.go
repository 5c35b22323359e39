package privsep_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tunnel/dns"
	"tunnel/firewall"
	"tunnel/host"
	"tunnel/sysctl"
)

// TestLargestRequest has a Want with the longest lists that its facts may have, and 1,024 more
// routes: it fits into a message, and is done.
func TestLargestRequest(t *testing.T) {
	w := host.Pair("tun0", 1400, 100, netip.MustParseAddr("10.1.1.3"),
		netip.MustParseAddr("10.1.1.4"), netip.MustParsePrefix("10.1.1.0/24"))
	w.Firewall.KillSwitch = &firewall.KillSwitch{Mark: 1<<32 - 1, GuardDNS: true, Inbound: true}
	network := func(first byte, i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{first, byte(100 + i>>8), byte(i), 128}), 25)
	}
	for i := range 1024 {
		w.Firewall.Networks = append(w.Firewall.Networks, network(181, i))
		w.Firewall.Masquerade = append(w.Firewall.Masquerade, network(182, i))
	}
	for i := range 1024 {
		w.Routes = append(w.Routes, host.Route{Prefix: network(101, i),
			Via: netip.MustParseAddr("10.1.1.4")})
	}
	for i := range 64 {
		w.Firewall.Maps = append(w.Firewall.Maps, firewall.Map{Here: network(183, i),
			There: network(184, i)})
	}
	w.Sysctls = slices.Repeat([]sysctl.Setting{{Name: sysctl.Forwarding, Dev: "lo"}}, 128)
	w.Names.All = true
	for i := range dns.MaxServers {
		w.Names.Servers = append(w.Names.Servers, netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8,
			byte(0xf0 | i>>8), byte(i), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe}))
	}
	more := strings.Repeat("."+strings.Repeat("x", 61), 3) + ".xxxxx" // 253 characters with a number
	for i := range dns.MaxDomains {
		w.Names.Domains = append(w.Names.Domains, fmt.Sprintf("%061d", i)+more)
	}
	request, err := json.Marshal(map[string]any{"id": 2, "kind": "apply", "want": w})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", len(request))
	h := newHost(t)
	file := filepath.Join(t.TempDir(), "request") // more than a variable of the environment holds
	if err := os.WriteFile(file, request, 0o600); err != nil {
		t.Fatal(err)
	}
	code, answers, err := run(t, h, "sends", device, "FILE "+file)
	if code != workerCode || err != nil || !strings.HasSuffix(answers, `{"id":2}`+"\n") ||
		!strings.Contains(h.recorder.Transcript(), "nft -f -\n") {
		t.Errorf("%d bytes: %d, %v, %s; ran\n%s", len(request), code, err, answers,
			h.recorder.Transcript())
	}
}
