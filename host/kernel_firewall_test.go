package host_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tunnel/cmdrun"
	"tunnel/firewall"
	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/rtnl"
	"tunnel/sysctl"
)

// set writes a kernel parameter of the test's network namespace.
func set(t *testing.T, key, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

// get reads one.
func get(t *testing.T, key string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/" + key)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// nft runs the real nft and returns what it prints.
func nft(t *testing.T, args ...string) string {
	t.Helper()
	out, err := cmdrun.NewExec(nil).Run(t.Context(), cmdrun.Command{Program: "nft", Args: args})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// whole is all of a machine's state that this package changes.
func whole(t *testing.T) string {
	t.Helper()
	all := []string{state(t), nft(t, "list", "ruleset")}
	for _, pattern := range []string{"ipv4/conf/*/forwarding", "ipv4/conf/*/src_valid_mark",
		"ipv6/conf/*/forwarding", "ipv6/conf/*/force_forwarding"} {
		paths, err := filepath.Glob("/proc/sys/net/" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			key := strings.TrimPrefix(path, "/proc/sys/net/")
			all = append(all, key+" = "+get(t, key))
		}
	}
	return strings.Join(all, "\n")
}

// gateway makes the machine of the documented example, which forwards nothing, with an interface to
// a LAN that has a dot in its name.
func gateway(t *testing.T) (before string) {
	t.Helper()
	behindGateway(t)
	set(t, "ipv4/ip_forward", "0")
	iptest.Link(t, "lan.7", "192.168.7.1/24")
	iptest.IP(t, "link set tun0 up")
	return whole(t)
}

// forwarding is the Want of a gateway between the tunnel and its LAN.
func forwarding() host.Want {
	w := pair("10.1.1.3", "10.1.1.4")
	w.Firewall = firewall.Rules{Networks: []netip.Prefix{prefix("192.168.7.0/24")}, Clamp: true,
		Masquerade: []netip.Prefix{prefix("192.168.7.0/24")}}
	w.Sysctls = []sysctl.Setting{{Name: sysctl.Forwarding, Dev: "tun0"},
		{Name: sysctl.Forwarding, Dev: "lan.7"}, {Name: sysctl.SrcValidMark, Dev: "ens160"}}
	return w
}

// sealed is a Want with a kill switch and without an address, as before the first connection.
func sealed() host.Want {
	return host.Want{Dev: "tun0", MTU: 1400, Qlen: 100,
		Firewall: firewall.Rules{KillSwitch: &firewall.KillSwitch{Mark: 7}}}
}

// TestKernelFirewall makes all, in order, once, and undoes it in reverse.
func TestKernelFirewall(t *testing.T) {
	before, dir := gateway(t), t.TempDir()
	r, recorder := newRouter(t, dir)
	if err := r.Apply(t.Context(), forwarding()); err != nil {
		t.Fatal(err)
	}
	golden(t, "gateway.txt", changes(recorder))
	for _, dev := range []string{"tun0", "lan.7"} {
		if get(t, "ipv4/conf/"+dev+"/forwarding") != "1" {
			t.Errorf("%s does not forward", dev)
		}
	}
	if get(t, "ipv4/conf/ens160/forwarding") != "0" || get(t, "ipv4/ip_forward") != "0" ||
		get(t, "ipv4/conf/ens160/src_valid_mark") != "1" {
		t.Error("another parameter than those that were asked for")
	}
	made := whole(t)
	recorder.Reset()
	if err := r.Apply(t.Context(), forwarding()); err != nil || changes(recorder) != "" ||
		whole(t) != made {
		t.Errorf("once more: %v, ran\n%s", err, changes(recorder))
	}
	recorder.Reset()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	golden(t, "gateway-stop.txt", changes(recorder))
	if whole(t) != before {
		t.Errorf("left\n%s", whole(t))
	}
	empty(t, dir)
}

// changes returns the commands so far that change something.
func changes(r *iptest.Recorder) string {
	var text strings.Builder
	for _, c := range r.Commands() {
		if !slices.Contains(c.Args, "list") {
			text.WriteString(c.Typed() + "\n")
		}
	}
	return text.String()
}

// TestKernelFirewallChanges is one Want after the other: the table is replaced, never missing.
func TestKernelFirewallChanges(t *testing.T) {
	before := gateway(t)
	r, recorder := newRouter(t, t.TempDir())
	other := forwarding()
	other.Firewall.Networks = []netip.Prefix{prefix("192.168.8.0/24")}
	other.Sysctls = other.Sysctls[:1]
	both := forwarding()
	both.Firewall.KillSwitch = sealed().Firewall.KillSwitch
	for _, w := range []host.Want{sealed(), both, forwarding(), other, sealed()} {
		recorder.Reset()
		if err := r.Apply(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(changes(recorder), "nft delete") {
			t.Errorf("ran\n%s", changes(recorder))
		}
		g := firewall.Guards{Inside: w.Networks()}
		if slices.Contains(w.Firewall.Networks, prefix("192.168.7.0/24")) {
			g.Ways = []rtnl.Near{{Dev: "lan.7", Network: prefix("192.168.7.0/24")}}
		}
		for _, s := range w.Sysctls {
			if s.Name == sysctl.Forwarding {
				g.IPv4 = append(g.IPv4, s.Dev)
			}
		}
		differs, err := firewall.Compare(t.Context(), kernel(), w.Firewall.Table("tun0", 1400, g))
		if err != nil || differs != "" {
			t.Errorf("%v, %v", differs, err)
		}
	}
	if err := r.Apply(t.Context(), pair("10.1.1.3", "10.1.1.4")); err != nil ||
		nft(t, "list", "ruleset") != "" {
		t.Errorf("%v, left\n%s", err, nft(t, "list", "ruleset"))
	}
	if err := r.Close(); err != nil || whole(t) != before {
		t.Errorf("%v, left\n%s", err, whole(t))
	}
}

func kernel() journal.Machine {
	return journal.Machine{Run: cmdrun.NewExec(nil), Look: rtnl.Kernel{}}
}

// TestKernelFirewallRestored has another program change what was set: Apply sets it again.
func TestKernelFirewallRestored(t *testing.T) {
	for name, change := range map[string]func(){
		"a rule":      func() { nft(t, "add rule inet tunnel_tun0 output accept") },
		"its rules":   func() { nft(t, "flush table inet tunnel_tun0") },
		"the table":   func() { nft(t, "flush ruleset") },
		"forwarding":  func() { set(t, "ipv4/conf/lan.7/forwarding", "0") },
		"all of that": func() { set(t, "ipv4/ip_forward", "1"); set(t, "ipv4/ip_forward", "0") },
		"both": func() {
			nft(t, "flush ruleset")
			set(t, "ipv4/conf/tun0/forwarding", "0")
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := gateway(t)
			r, recorder := newRouter(t, t.TempDir())
			w := forwarding()
			w.Firewall.KillSwitch = sealed().Firewall.KillSwitch
			if err := r.Apply(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			made := whole(t)
			for range 3 { // fewer than end in an ErrContested, one each
				change()
				if whole(t) == made {
					t.Fatal("nothing has changed")
				}
				recorder.Reset()
				if err := r.Apply(t.Context(), w); err != nil || whole(t) !=
					made {
					t.Errorf("%v, ran\n%s", err, changes(recorder))
				}
			}
			change()
			if err := r.Apply(t.Context(), w); err != nil {
				t.Error(err)
			}
			if err := r.Close(); err != nil || whole(t) != before {
				t.Errorf("%v, left\n%s", err, whole(t))
			}
		})
	}
}

// TestKernelForwardingOfOthers has Docker, or an administrator, switch forwarding on for all: it
// stays on, and is not limited.
func TestKernelForwardingOfOthers(t *testing.T) {
	gateway(t)
	r, _ := newRouter(t, t.TempDir())
	if err := r.Apply(t.Context(), forwarding()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(nft(t, "list", "ruleset"), `iif "lan.7"`) {
		t.Errorf("no guard in\n%s", nft(t, "list", "ruleset"))
	}
	set(t, "ipv4/ip_forward", "1")
	if err := r.Apply(t.Context(), forwarding()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(nft(t, "list", "ruleset"), `iif "lan.7"`) {
		t.Errorf("a guard in\n%s", nft(t, "list", "ruleset"))
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, dev := range []string{"all", "lan.7", "tun0", "ens160"} {
		if get(t, "ipv4/conf/"+dev+"/forwarding") != "1" {
			t.Errorf("%s does not forward any more", dev)
		}
	}
	if left := nft(t, "list", "ruleset"); left != "" {
		t.Errorf("left\n%s", left)
	}
}

// TestKernelForwardingIsOn finds forwarding on, or on for all but one interface: what is on stays
// as it is, and what was off is off in the end.
func TestKernelForwardingIsOn(t *testing.T) {
	gateway(t)
	set(t, "ipv4/ip_forward", "1")
	set(t, "ipv4/conf/lan.7/forwarding", "0")
	set(t, "ipv4/conf/all/src_valid_mark", "1")
	before := whole(t)
	r, recorder := newRouter(t, t.TempDir())
	if err := r.Apply(t.Context(), forwarding()); err != nil {
		t.Fatal(err)
	}
	if ran := changes(recorder); strings.Count(ran, "sysctl") != 1 ||
		!strings.Contains(ran, "sysctl -w net.ipv4.conf.lan/7.forwarding=1\n") {
		t.Errorf("ran\n%s", ran)
	}
	// Only that one is limited to the tunnel; the others are of masquerading, broadcasts and forged
	// sources.
	if rules := nft(t, "list", "ruleset"); strings.Count(rules, " drop") != 5 ||
		!strings.Contains(rules, `iif "lan.7" oif != "lan.7" oifname != `) {
		t.Errorf("the rules are\n%s", rules)
	}
	if err := r.Close(); err != nil || whole(t) != before {
		t.Errorf("%v, left\n%s", err, whole(t))
	}
}

// TestKernelOtherInterface has an interface go, and another one of its name come.
func TestKernelOtherInterface(t *testing.T) {
	before := gateway(t)
	r, _ := newRouter(t, t.TempDir())
	if err := r.Apply(t.Context(), forwarding()); err != nil {
		t.Fatal(err)
	}
	iptest.IP(t, "link del lan.7")
	if err := r.Apply(t.Context(), forwarding()); err != nil {
		t.Fatal(err)
	}
	iptest.Link(t, "lan.7", "192.168.7.1/24")
	if err := r.Apply(t.Context(), forwarding()); err != nil ||
		get(t, "ipv4/conf/lan.7/forwarding") != "1" {
		t.Errorf("%v", err)
	}
	err := r.Close()
	if err != nil || get(t, "ipv4/conf/lan.7/forwarding") != "0" ||
		strings.Count(whole(t), "\n") != strings.Count(before, "\n") {
		t.Errorf("%v, left\n%s", err, whole(t))
	}
}

// TestKernelWithdrawKeepsKillSwitch gives a network up: nothing may leave meanwhile.
func TestKernelWithdrawKeepsKillSwitch(t *testing.T) {
	for _, seals := range []bool{false, true} {
		before := gateway(t)
		r, _ := newRouter(t, t.TempDir())
		w := forwarding()
		if seals {
			w.Firewall.KillSwitch = sealed().Firewall.KillSwitch
		}
		err := errors.Join(r.Apply(t.Context(), w), r.Withdraw(t.Context()))
		if left := strings.Contains(nft(t, "list", "ruleset"), "policy drop"); err != nil ||
			left != seals {
			t.Errorf("kill switch %v: %v, left\n%s", seals, err, nft(t, "list", "ruleset"))
		}
		if get(t, "ipv4/conf/lan.7/forwarding") != "0" {
			t.Error("forwarding is on")
		}
		if err := r.Close(); err != nil || whole(t) != before {
			t.Errorf("%v, left\n%s", err, whole(t))
		}
	}
}

// TestKernelCloseSealed ends a run that has failed: the kill switch stays, and nothing else. The
// next run takes it over, or removes it; so does Cleanup.
func TestKernelCloseSealed(t *testing.T) {
	before, dir := gateway(t), t.TempDir()
	table := firewall.Table{Dev: "tun0"}
	leave := func() {
		t.Helper()
		r, _ := newRouter(t, dir)
		w := forwarding()
		w.Firewall.KillSwitch = sealed().Firewall.KillSwitch
		if err := errors.Join(r.Apply(t.Context(), w), r.CloseSealed()); err != nil {
			t.Fatal(err)
		}
		if left := nft(t, "list", "ruleset"); !strings.Contains(left, "policy drop") {
			t.Errorf("left\n%s", left)
		}
		nftless := strings.ReplaceAll(whole(t), nft(t, "list", "ruleset"), "")
		if nftless != before {
			t.Errorf("left\n%s", nftless)
		}
	}
	leave()
	report, err := journal.Cleanup(t.Context(), kernel(), host.Kinds(), nil, dir)
	if err != nil || !slices.Equal(report.Removed, []string{table.String()}) || whole(t) != before {
		t.Errorf("%v, %v, left\n%s", report, err, whole(t))
	}
	empty(t, dir)
	leave()
	j, err := openJournal(dir, "tun0")
	if err != nil {
		t.Fatal(err)
	}
	if removed, err := j.Heal(t.Context(), kernel(), table); err != nil || len(removed) != 0 {
		t.Errorf("%v, %v", removed, err)
	}
	recorder := iptest.NewRecorder(cmdrun.NewExec(nil))
	r := host.New(journal.Machine{Run: recorder, Look: rtnl.Kernel{}}, j, nil)
	r.Adopt()
	if err := r.Apply(t.Context(), sealed()); err != nil {
		t.Fatal(err)
	}
	if ran := changes(recorder); strings.Contains(ran, "nft create") ||
		strings.Contains(ran, "nft delete") || !strings.Contains(ran, "nft -f -") {
		t.Errorf("ran\n%s", ran)
	}
	if err := r.Close(); err != nil || whole(t) != before {
		t.Errorf("%v, left\n%s", err, whole(t))
	}
	empty(t, dir)
	r, _ = newRouter(t, dir) // without a kill switch the same ends as always
	if err := errors.Join(r.Apply(t.Context(), forwarding()), r.CloseSealed()); err != nil ||
		whole(t) != before {
		t.Errorf("%v, left\n%s", err, whole(t))
	}
	empty(t, dir)
}
