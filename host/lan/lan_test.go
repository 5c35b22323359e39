package lan_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"tunnel/firewall"
	"tunnel/host/lan"
	"tunnel/rtnl"
)

// More networks than a table takes are cut with one line, until there is another number.
func TestCut(t *testing.T) {
	var log bytes.Buffer
	l := lan.Limit{Log: slog.New(slog.NewTextHandler(&log, nil))}
	var all []rtnl.Near
	for i := range firewall.MaxLAN + 2 {
		n := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
		all = append(all, rtnl.Near{Dev: "eth0", Network: n})
	}
	for _, test := range []struct{ networks, kept, lines int }{
		{0, 0, 0}, {firewall.MaxLAN, firewall.MaxLAN, 0}, {firewall.MaxLAN + 2, firewall.MaxLAN, 1},
		{firewall.MaxLAN + 2, firewall.MaxLAN, 0}, {firewall.MaxLAN + 1, firewall.MaxLAN, 1},
		{1, 1, 0}, {firewall.MaxLAN + 1, firewall.MaxLAN, 1},
	} {
		log.Reset()
		kept, _, err := l.Cut(all[:test.networks], nil, nil)
		if err != nil || len(kept) != test.kept || strings.Count(log.String(), "\n") != test.lines {
			t.Errorf("of %d: %d, %v\n%s", test.networks, len(kept), err, log.String())
		}
		if test.lines > 0 && !strings.Contains(log.String(), "first_refused=10.4.0.0/24") {
			t.Errorf("%s", log.String())
		}
	}
	failed := errors.New("failed")
	if kept, _, err := l.Cut(all, nil, failed); !errors.Is(err, failed) || kept != nil {
		t.Errorf("%v, %v", kept, err)
	}
}
