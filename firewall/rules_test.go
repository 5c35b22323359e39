package firewall_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"tunnel/firewall"
	"tunnel/nftcmd"
	"tunnel/rtnl"
)

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

func prefixes(words ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(words))
	for i, word := range words {
		all[i] = prefix(word)
	}
	return all
}

// near returns networks that one interface leads to.
func near(dev string, words ...string) (all []rtnl.Near) {
	for _, n := range prefixes(words...) {
		all = append(all, rtnl.Near{Dev: dev, Network: n})
	}
	return all
}

const mark = 0x746e6c

// full has all that Rules can say.
func full() firewall.Rules {
	return firewall.Rules{
		Networks: prefixes("192.168.7.0/24", "10.8.0.0/16", "10.8.1.0/24"), Public: true,
		Masquerade: prefixes("192.168.7.0/24", "198.51.100.0/24"),
		Maps: []firewall.Map{
			{Here: prefix("192.168.1.0/24"), There: prefix("10.50.1.0/24")},
			{Here: prefix("192.168.2.9/32"), There: prefix("10.50.2.9/32")},
		},
		Clamp: true,
		Tracked: &firewall.Tracked{Network: prefix("10.1.1.0/24"),
			Behind: prefixes("10.60.0.0/16", "10.60.7.0/24", "192.168.9.9/32")},
		KillSwitch: &firewall.KillSwitch{Mark: mark,
			LAN: append(near("lan0", "192.168.0.0/24", "2001:db8:1::/64"),
				near("wlan0", "192.168.0.0/24")...),
			Links:    []string{"lan0", "wlan0", "a*", `b"c`},
			GuardDNS: true, Inbound: true},
	}
}

func guards() firewall.Guards {
	return firewall.Guards{IPv4: []string{"tun0", "eth0"}, IPv6: []string{"eth0"},
		Others: []string{"tun1"}}
}

// TestTable is the text of whole tables, byte for byte: what nft gets, and what --dry-run shows.
func TestTable(t *testing.T) {
	sealed := full()
	sealed.KillSwitch.Inbound = false
	for file, c := range map[string]string{
		"full.nft": nftcmd.Replace(full().Table("tun0", 1400, guards())).Input,
		"kill-switch.nft": nftcmd.Replace(firewall.Rules{KillSwitch: sealed.KillSwitch}.Table("tun0",
			1400, firewall.Guards{})).Input,
		"masquerade.nft": nftcmd.Replace(firewall.Rules{Masquerade: prefixes("0.0.0.0/0"),
			Public: true, Tracked: &firewall.Tracked{Network: prefix("10.1.1.0/24")}}.Table("tun0", 1400,
			firewall.Guards{IPv4: []string{"tun0", "eth0"}})).Input,
	} {
		path := "../testdata/nft/" + file
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(path, []byte(c), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil || string(want) != c {
			t.Errorf("%s: %v, got\n%s", file, err, c)
		}
	}
}

// TestRefusedRules has values that a worker which was broken into may send: none becomes text.
func TestRefusedRules(t *testing.T) {
	many := make([]netip.Prefix, 1025)
	for i := range many {
		many[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
	}
	kill := func(k firewall.KillSwitch) firewall.Rules { return firewall.Rules{KillSwitch: &k} }
	here := func(pairs ...string) (r firewall.Rules) {
		for _, p := range pairs {
			a, b, _ := strings.Cut(p, "=")
			r.Maps = append(r.Maps, firewall.Map{Here: prefix(a), There: prefix(b)})
		}
		return r
	}
	for name, r := range map[string]firewall.Rules{
		"default route":        {Networks: prefixes("0.0.0.0/0")},
		"half of all":          {Networks: prefixes("128.0.0.0/1")},
		"IPv6":                 {Networks: prefixes("2001:db8::/32")},
		"host bits":            {Networks: prefixes("10.1.1.1/24")},
		"loopback":             {Networks: prefixes("127.0.0.0/8")},
		"multicast":            {Networks: prefixes("224.0.0.0/8")},
		"no prefix":            {Networks: []netip.Prefix{{}}},
		"too many":             {Networks: many},
		"half masqueraded":     {Masquerade: prefixes("0.0.0.0/1")},
		"other sizes":          here("192.168.1.0/24=10.1.0.0/25"),
		"the same":             here("192.168.1.0/24=192.168.1.0/24"),
		"twice here":           here("192.168.1.0/24=10.1.0.0/24", "192.168.1.0/24=10.2.0.0/24"),
		"twice there":          here("192.168.1.0/24=10.1.0.0/24", "192.168.2.0/24=10.1.0.0/24"),
		"there is here":        here("192.168.1.0/24=10.1.0.0/24", "10.1.0.0/24=10.3.0.0/24"),
		"a default translated": here("0.0.0.0/0=0.0.0.0/0"),
		"no network":           {Tracked: &firewall.Tracked{}},
		"a default behind": {Tracked: &firewall.Tracked{Network: prefix("10.1.1.0/24"),
			Behind: prefixes("0.0.0.0/0")}},
		"the tunnel behind": {Tracked: &firewall.Tracked{Network: prefix("10.1.1.0/24"),
			Behind: prefixes("10.0.0.0/8")}},
		"too many behind": {Tracked: &firewall.Tracked{Network: prefix("192.168.1.0/24"),
			Behind: many}},
		"no mark":       kill(firewall.KillSwitch{}),
		"all is a LAN":  kill(firewall.KillSwitch{Mark: 1, LAN: near("lan0", "0.0.0.0/0")}),
		"half is a LAN": kill(firewall.KillSwitch{Mark: 1, LAN: near("lan0", "0.0.0.0/1")}),
		"IPv6 is a LAN": kill(firewall.KillSwitch{Mark: 1, LAN: near("lan0", "2000::/3")}),
		"mapped":        kill(firewall.KillSwitch{Mark: 1, LAN: near("lan0", "::ffff:10.0.0.0/104")}),
	} {
		if err := r.Check("tun0", 1400); !errors.Is(err, firewall.ErrRules) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, dev := range []string{"", "tun*", `t"`, "a;b", "a{", "tün", "a b", "a/b", "#x", "$x", "@x",
		"t\x00", "a\\", strings.Repeat("x", 16)} {
		if err := full().Check(dev, 1400); !errors.Is(err, firewall.ErrRules) {
			t.Errorf("device %q: %v", dev, err)
		}
		if err := (firewall.Guards{IPv6: []string{dev}}).Check(); !errors.Is(err, firewall.ErrRules) {
			t.Errorf("guard %q: %v", dev, err)
		}
	}
	if err := full().Check("tun0", 40); !errors.Is(err, firewall.ErrRules) {
		t.Errorf("an MTU of 40: %v", err)
	}
	if err := errors.Join(full().Check("br-lan.1_x", 1400), guards().Check(),
		firewall.Rules{}.Check("tun*", 0)); err != nil {
		t.Error(err)
	}
}

func TestRulesEqual(t *testing.T) {
	if r := full(); !r.Equal(full()) || r.IsZero() || !(firewall.Rules{
		Networks: []netip.Prefix{}}).IsZero() {
		t.Error("equal Rules differ")
	}
	for i, change := range []func(*firewall.Rules){
		func(r *firewall.Rules) { r.Networks = r.Networks[1:] },
		func(r *firewall.Rules) { r.Public = false },
		func(r *firewall.Rules) { r.Masquerade = nil },
		func(r *firewall.Rules) { r.Maps = r.Maps[1:] },
		func(r *firewall.Rules) { r.Clamp = false },
		func(r *firewall.Rules) { r.Tracked = nil },
		func(r *firewall.Rules) { r.Tracked.Network = prefix("10.1.2.0/24") },
		func(r *firewall.Rules) { r.Tracked.Behind = nil },
		func(r *firewall.Rules) { r.KillSwitch = nil },
		func(r *firewall.Rules) { r.KillSwitch.Mark = 1 },
		func(r *firewall.Rules) { r.KillSwitch.GuardDNS = false },
		func(r *firewall.Rules) { r.KillSwitch.Inbound = false },
	} {
		r := full()
		change(&r)
		a, b := fmt.Sprint(r.Table("tun0", 1400, guards())), fmt.Sprint(full().Table("tun0", 1400,
			guards()))
		if r.Equal(full()) || a == b {
			t.Errorf("change %d makes no difference", i)
		}
	}
}
