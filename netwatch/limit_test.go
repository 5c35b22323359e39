package netwatch_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/ipcmd/iptest"
	"tunnel/netwatch"
)

// A Watcher with limits is told what matters to one of them, and nothing else of routes and links.
func TestLimit(t *testing.T) {
	const index, other = 77, 78
	limits := netwatch.Limits{
		Networks: []netip.Prefix{prefix("10.1.1.0/24")}, Links: []int{index},
		Hosts: []netip.Addr{addr("203.0.113.1"), addr("2001:db8:2::1")},
	}
	events, w := watchingWith(t, "link add ens160 index 77 type veth peer name other index 78",
		"link set other up addrgenmode none",
		"link set ens160 up addrgenmode none", "addr add 192.168.107.5/24 dev ens160")
	if err := w.Limit(&limits); err != nil {
		t.Fatal(err)
	}
	heard(events) // what the kernel still does by itself
	for _, test := range []struct {
		change string
		told   bool
	}{
		{"route add 198.51.100.0/24 via 192.168.107.2", false},
		{"route add 198.51.100.0/24 via 192.168.107.2 table 300", false},
		{"route add 203.0.113.2/32 via 192.168.107.2", false},
		{"route add 203.0.114.0/23 via 192.168.107.2", false},
		{"route add 10.1.2.0/24 via 192.168.107.2", false},
		{"-6 route add 2001:db9::/32 dev ens160", false},
		{"link set other mtu 1300", false},
		{"route add default via 192.168.107.2", true},
		{"route add 0.0.0.0/1 via 192.168.107.2", true},
		{"route add 128.0.0.0/1 via 192.168.107.2", true},
		{"route add 203.0.113.1/32 via 192.168.107.2", true},
		{"route add 203.0.112.0/22 via 192.168.107.2 table 300", true},
		{"route add 10.1.1.0/24 via 192.168.107.2", true},
		{"route add 10.1.1.128/25 via 192.168.107.2", true},
		{"route add 10.0.0.0/8 via 192.168.107.2", true},
		{"route add unreachable 10.1.1.9", true},
		{"route add 198.51.101.0/24 via 10.1.1.9 dev ens160 onlink", true},
		{"route add 198.51.102.0/24 nexthop via 10.1.1.9 dev ens160 onlink " +
			"nexthop via 192.168.107.2", true},
		// Several next hops are looked at one by one.
		{"route add 198.51.103.0/24 nexthop via 192.168.107.2 nexthop via 192.168.107.3 weight 9",
			false},
		{"route add 198.51.104.0/24 nexthop dev ens160 nexthop via 192.168.107.3 " +
			"nexthop dev other", false},
		{"route add 198.51.105.0/24 nexthop via 192.168.107.2 nexthop dev ens160 " +
			"nexthop via 10.1.1.9 dev ens160 onlink", true},
		{"route add 198.51.106.0/24" + strings.Repeat(" nexthop via 192.168.107.2", 15) +
			" nexthop via 10.1.1.9 dev ens160 onlink", true},
		{"route add 198.51.107.0/24" + strings.Repeat(" nexthop via 192.168.107.2", 15), false},
		{"route add 198.51.108.0/24" + strings.Repeat(" nexthop via 192.168.107.2", 40), true},
		{"route add 198.51.109.0/24 nexthop via 192.168.107.2 nexthop via inet6 fe80::1 dev ens160",
			true}, // what more a next hop says is not read
		{"-6 route add default dev ens160", true},
		{"-6 route add 2001:db8:2::1/128 dev ens160", true},
		{"-6 route add 2001:db8:2::/48 dev ens160", true},
		{"link set ens160 mtu 1300", true},
		{"addr add 192.0.2.9/32 dev other", true},
		{"rule add to 192.0.2.1 lookup 100", true},
	} {
		iptest.IP(t, test.change)
		all := heard(events)
		for e := range all {
			if e.Kind == netwatch.Link && e.Link == other {
				t.Errorf("%s: told of another link: %+v", test.change, e)
			}
		}
		if told := len(all) > 0; told != test.told {
			t.Errorf("%s: told of %+v; want something: %t", test.change, all, test.told)
		}
	}
}

// Limits that are taken away, that are too many and that cannot be met by a filter leave everything
// told.
func TestNoLimit(t *testing.T) {
	many := netwatch.Limits{
		Hosts: slices.Repeat([]netip.Addr{addr("203.0.113.1")}, 100), Links: []int{1},
	}
	all := netwatch.Limits{Networks: []netip.Prefix{prefix("0.0.0.0/0")}, Links: []int{1}}
	for name, limits := range map[string]*netwatch.Limits{
		"none": nil, "too many": &many, "all networks": &all,
	} {
		t.Run(name, func(t *testing.T) {
			events, w := watchingWith(t, "link set lo up")
			for _, to := range []*netwatch.Limits{{Links: []int{1}}, limits} {
				if err := w.Limit(to); err != nil {
					t.Fatal(err)
				}
			}
			heard(events)
			iptest.IP(t, "route add 198.51.100.0/24 dev lo")
			want := netwatch.Event{
				Kind: netwatch.Route, Family: netwatch.IPv4, Link: 1,
				Prefix: prefix("198.51.100.0/24"), Table: unix.RT_TABLE_MAIN,
			}
			if all := heard(events); !all[want] {
				t.Errorf("told of %+v", all)
			}
		})
	}
}

// A burst of changes that do not matter is no reason for a Watcher with a small buffer to have
// missed something.
func TestLimitBurst(t *testing.T) {
	events, w := watchingWith(t, "link set lo up")
	if err := netwatch.Shrink(w); err != nil {
		t.Fatal(err)
	}
	limits := netwatch.Limits{Networks: []netip.Prefix{prefix("10.1.1.0/24")}, Links: []int{77}}
	if err := w.Limit(&limits); err != nil {
		t.Fatal(err)
	}
	heard(events)
	var burst strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&burst, "route add 20.%d.%d.0/24 dev lo\n", i/256, i%256)
		fmt.Fprintf(&burst, "route add 21.%d.%d.0/24 nexthop dev lo nexthop dev lo\n", i/256, i%256)
	}
	file := filepath.Join(t.TempDir(), "burst")
	if err := os.WriteFile(file, []byte(burst.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	iptest.IP(t, "-batch "+file)
	if all := heard(events); len(all) > 0 {
		t.Errorf("told of %+v", all)
	}
}

// Of many networks, as a server may push, neighbours are told of together.
func TestLimitManyNetworks(t *testing.T) {
	var limits netwatch.Limits
	for i := range 1024 {
		limits.Networks = append(limits.Networks,
			netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 6), byte(i << 2), 0}), 24))
	}
	limits.Networks = append(limits.Networks, prefix("172.16.9.0/24"), prefix("192.168.7.128/25"))
	limits.Links = []int{77}
	events, w := watchingWith(t, "link set lo up")
	if err := w.Limit(&limits); err != nil {
		t.Fatal(err)
	}
	heard(events)
	for change, told := range map[string]bool{
		"route add 198.51.100.0/24 dev lo":  false,
		"route add 11.0.0.0/8 dev lo":       false,
		"route add 192.168.8.0/24 dev lo":   false,
		"route add 172.16.8.0/24 dev lo":    false,
		"route add 10.0.0.0/24 dev lo":      true,
		"route add 10.15.252.0/24 dev lo":   true,
		"route add 172.16.9.7/32 dev lo":    true,
		"route add 192.168.7.192/26 dev lo": true,
	} {
		iptest.IP(t, change)
		if all := heard(events); len(all) > 0 != told {
			t.Errorf("%s: told of %+v; want something: %t", change, all, told)
		}
	}
}
