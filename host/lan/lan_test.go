package lan_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"tunnel/firewall"
	"tunnel/host/lan"
	"tunnel/ipcmd/iptest"
	"tunnel/route"
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

// TestKernelUplinks finds the interfaces that a default route leads to, whatever its table, family
// and form.
func TestKernelUplinks(t *testing.T) {
	iptest.Namespace(t)
	for _, dev := range []string{"own0", "br0", "up0", "up1", "up2", "up3"} {
		iptest.IP(t, "link add "+dev+" type veth peer name p-"+dev)
		iptest.IP(t, "link set p-"+dev+" up")
		iptest.IP(t, "link set "+dev+" up")
	}
	for _, r := range []string{"10.0.0.0/8 dev br0", "default dev own0 table 7", "default dev up0",
		"default dev up1 table 100", "128.0.0.0/1 dev up3 metric 5"} {
		iptest.IP(t, "route add "+r)
	}
	iptest.IP(t, "-6 route add default dev up2 table 100")
	look := rtnl.Kernel{}
	own, err := look.LinkByName("own0")
	if err != nil {
		t.Fatal(err)
	}
	v := route.View{Look: look, Dev: "own0", Own: own.Index}
	var o firewall.Outside
	l := lan.Limit{Log: slog.Default()}
	if err := l.Fill(&o, v, true); err != nil || o.Uplinks != nil {
		t.Errorf("without answers: %v, %v", o.Uplinks, err)
	}
	o.Answer = true
	err = l.Fill(&o, v, false)
	if err != nil || !slices.Equal(o.Uplinks, []string{"up0", "up1", "up2", "up3"}) {
		t.Errorf("%v, %v", o.Uplinks, err)
	}
}
