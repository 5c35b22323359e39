package firewall_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"testing"

	"tunnel/cmdrun"
	"tunnel/firewall"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/nftcmd"
	"tunnel/rtnl"
)

// These tests run the real nft, each in a network namespace of its own.

func machine() journal.Machine {
	return journal.Machine{Run: cmdrun.NewExec(nil), Look: rtnl.Kernel{}}
}

func addresses(texts ...string) (all []netip.Addr) {
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

// nft runs the real nft and returns what it prints.
func nft(t *testing.T, args ...string) string {
	t.Helper()
	out, err := machine().Run.Run(t.Context(), cmdrun.Command{Program: "nft", Args: args})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// guarded makes a network namespace that has the interface of guards.
func guarded(t *testing.T) {
	t.Helper()
	iptest.Namespace(t)
	iptest.IP(t, "link add eth0 type veth peer name peer0")
}

// TestKernelReadBack sets every part of Rules, alone and together: nft shows each as it was set.
func TestKernelReadBack(t *testing.T) {
	guarded(t)
	many := firewall.Rules{KillSwitch: &firewall.KillSwitch{Mark: 1<<32 - 1}}
	for i := range 1024 {
		n := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 7), byte(i << 1), 0}), 24)
		many.Networks, many.Masquerade = append(many.Networks, n), append(many.Masquerade, n)
	}
	for i := range 64 {
		many.Maps = append(many.Maps, firewall.Map{
			Here:  netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i), 0}), 24),
			There: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 17, byte(i), 0}), 24),
		})
	}
	for i := range firewall.MaxLAN { // each with an interface of its own, as bridges of containers
		n := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(20 + i>>8), byte(i), 0}), 25)
		many.KillSwitch.LAN = append(many.KillSwitch.LAN,
			rtnl.Near{Dev: fmt.Sprint("br-", i), Network: n})
	}
	f := full()
	sealed := *f.KillSwitch
	sealed.Inbound = false
	all := []firewall.Rules{
		f, many, {Networks: f.Networks}, {Public: true}, {Maps: f.Maps}, {Clamp: true},
		{Masquerade: f.Masquerade}, {Masquerade: prefixes("0.0.0.0/0", "10.0.0.0/8")},
		{Tracked: f.Tracked}, {Tracked: &firewall.Tracked{Network: prefix("10.1.0.0/16"), Limit: 1}},
		{Masquerade: prefixes("10.1.1.1/32")}, {KillSwitch: f.KillSwitch}, {KillSwitch: &sealed},
		{Outside: &firewall.Outside{Mark: 0x746e, Tunnel: addresses("10.1.1.3")}},
		{Outside: &firewall.Outside{Mark: 1, Tunnel: addresses("10.1.1.3"), Refuse: true}},
		{Outside: &firewall.Outside{Mark: 1, Tunnel: addresses("10.1.1.3", "10.1.1.5"), Answer: true,
			Refuse: true, LAN: near("lan0", "192.168.0.0/24", "10.0.0.0/8", "fd00:1::/64")},
			Older: firewall.Older{TCP: []uint16{40000, 40002}, UDP: []uint16{50000}}},
		killSwitch(func(k *firewall.KillSwitch) { k.Inbound = true }),
		{Outside: &firewall.Outside{Mark: 1<<32 - 1, Tunnel: addresses("10.1.1.3", "10.2.0.1"),
			Answer: true, Ports: []uint16{22, 80, 81, 443, 65535}, Uplinks: []string{"eth0", "ppp0"}},
			KillSwitch: f.KillSwitch},
		{Outside: &firewall.Outside{Mark: 1, Tunnel: addresses("10.1.1.3"), Answer: true,
			Ports: []uint16{22}}},
		{KillSwitch: &firewall.KillSwitch{Mark: 1}},
		{KillSwitch: &firewall.KillSwitch{Mark: 1, Inbound: true}},
		{KillSwitch: &firewall.KillSwitch{Mark: 1, GuardDNS: true, LAN: near("lan0", "10.0.0.0/8")}},
		{KillSwitch: &firewall.KillSwitch{Mark: 1, LAN: near("lan0", "2001:db8::/64"),
			Links: []string{"lan0"}}},
		{Outside: &firewall.Outside{Mark: 1, Tunnel: addresses("10.1.1.3"), Refuse: true,
			LAN: near("lan0", "192.168.0.0/24"), Links: []string{"lan0", "lan1"}}},
		{KillSwitch: &firewall.KillSwitch{Mark: 1,
			LAN: near("lan0", "10.0.0.0/24", "10.0.1.0/24", "10.0.3.0/24", "10.0.2.0/25")}},
	}
	for i, r := range all {
		for _, g := range []firewall.Guards{{}, guards(), {IPv4: []string{"tun0"}}} {
			if err := r.Check("tun0", 1400); err != nil {
				t.Fatal(err)
			}
			want := r.Table("tun0", 1400, g)
			if err := firewall.Set(t.Context(), machine(), want); err != nil {
				t.Errorf("%d, %v: %v", i, g, err)
			}
		}
	}
	table := firewall.Table{Dev: "tun0"}
	if removed, err := journal.Undo(t.Context(), machine(), table); err != nil || !removed {
		t.Errorf("%v, %v", removed, err)
	}
	if left := nft(t, "list", "ruleset"); left != "" {
		t.Errorf("left\n%s", left)
	}
	if removed, err := journal.Undo(t.Context(), machine(), table); err != nil || removed {
		t.Errorf("once more: %v, %v", removed, err)
	}
}

// TestKernelForeignTable finds a table of that name that this program has not made: it stays.
func TestKernelForeignTable(t *testing.T) {
	iptest.Namespace(t)
	nft(t, "add", "table", "inet", "tunnel_tun0")
	nft(t, "add", "chain", "inet", "tunnel_tun0", "mine")
	err := firewall.Table{Dev: "tun0"}.Make(t.Context(), machine())
	if !errors.Is(err, fs.ErrExist) || !errors.As(err, new(*firewall.TakenError)) ||
		!strings.Contains(err.Error(), "`nft delete table inet tunnel_tun0`") {
		t.Errorf("%v", err)
	}
	if left := nft(t, "list", "ruleset"); !strings.Contains(left, "chain mine") {
		t.Errorf("left\n%s", left)
	}
}

// TestKernelChanges has another program change the table in every way: Compare names each.
func TestKernelChanges(t *testing.T) {
	guarded(t)
	const table = "inet tunnel_tun0 "
	for _, change := range []string{
		"add rule " + table + "output accept",
		"insert rule " + table + "output tcp dport 80 accept",
		"flush chain " + table + "output",
		"flush table " + table,
		"delete table " + table,
		"add chain " + table + "output { policy accept; }",
		"add chain " + table + "other",
		"add chain " + table + "early { type filter hook output priority -10; }",
		"add set " + table + "some { type ipv4_addr; }",
		"add counter " + table + "some",
		"add map " + table + "some { type ipv4_addr : verdict; }",
	} {
		want := full().Table("tun0", 1400, guards())
		if err := firewall.Set(t.Context(), machine(), want); err != nil {
			t.Fatal(err)
		}
		nft(t, change)
		differs, err := firewall.Compare(t.Context(), machine(), want)
		if err != nil || differs == "" || strings.Contains(differs, "\n") {
			t.Errorf("%s: %q, %v", change, differs, err)
		}
	}
}

// TestKernelFailures have one line each: no nft, and no right to use it.
func TestKernelFailures(t *testing.T) {
	guarded(t)
	want := full().Table("tun0", 1400, guards())
	bad := nftcmd.Table{Name: want.Name, Chains: []nftcmd.Chain{want.Chains[0]}}
	bad.Chains[0].Rules = append([]string{"no rule"}, bad.Chains[0].Rules...)
	err := firewall.Set(t.Context(), machine(), bad)
	if err == nil || !strings.HasPrefix(err.Error(), "nft -f -: ") ||
		strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	if left := nft(t, "list", "ruleset"); left != "" {
		t.Errorf("half a transaction is left:\n%s", left)
	}
	t.Setenv("PATH", t.TempDir())
	err = firewall.Set(t.Context(), machine(), want)
	if !cmdrun.IsMissing(err) || err.Error() != "nft -f -: nft is not in PATH: install nftables" {
		t.Errorf("%v", err)
	}
	if _, err := (firewall.Table{Dev: "tun0"}).Find(machine()); !cmdrun.IsMissing(err) {
		t.Errorf("%v", err)
	}
}

// TestDryRun shows what would be set, and looks at nothing.
func TestDryRun(t *testing.T) {
	var out strings.Builder
	m := journal.Machine{Run: cmdrun.DryRun{W: &out}, Look: rtnl.Kernel{}}
	want := full().Table("tun0", 1400, guards())
	err := errors.Join(firewall.Table{Dev: "tun0"}.Make(t.Context(), m),
		firewall.Set(t.Context(), m, want))
	if _, failed := (firewall.Table{Dev: "tun0"}).Find(m); err != nil || failed != nil {
		t.Error(err, failed)
	}
	if text := fmt.Sprintf("nft create table inet tunnel_tun0\nnft -f - <<'EOF'\n%sEOF\n",
		nftcmd.Replace(want).Input); out.String() != text {
		t.Errorf("printed\n%s", &out)
	}
}
