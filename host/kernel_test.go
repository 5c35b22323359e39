package host_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/cmdrun"
	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/route"
	"tunnel/rtnl"
)

// These tests run the real ip on real devices, each in a network namespace of its own.

// state is what the kernel shows of addresses, routes and rules.
func state(t *testing.T) string {
	t.Helper()
	return iptest.IP(t, "-4 -o addr show") + "\n" + iptest.IP(t, "-4 route show table all") + "\n" +
		iptest.IP(t, "-4 rule show") + "\n" + iptest.IP(t, "-6 rule show") + "\n" +
		iptest.IP(t, "-6 route show table all type unreachable")
}

// newRouter returns a Router on the real kernel with a journal in dir.
func newRouter(t *testing.T, dir string) (*host.Host, *iptest.Recorder) {
	t.Helper()
	j, err := openJournal(dir, "tun0")
	if err != nil {
		t.Fatal(err)
	}
	recorder := iptest.NewRecorder(cmdrun.NewExec(nil))
	r := host.New(journal.Machine{Run: recorder, Look: rtnl.Kernel{}}, j, nil)
	t.Cleanup(func() { _ = r.Close() })
	return r, recorder
}

// behindGateway makes the machine of the documented example, and returns its state.
func behindGateway(t *testing.T) string {
	t.Helper()
	iptest.Namespace(t)
	iptest.Link(t, "ens160", "192.168.107.5/24")
	iptest.IP(t, "route add default via 192.168.107.2")
	iptest.OpenTun(t, "tun0", 0)
	return state(t)
}

// routeTable is the kernel's table as `route -n` shows it: destination, gateway, mask, flags,
// metric, interface.
func routeTable(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile("/proc/thread-self/net/route")
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]string{"0001": "U", "0003": "UG", "0005": "UH", "0007": "UGH"}
	var lines []string
	for line := range strings.Lines(string(content)) {
		f := strings.Fields(line)
		if f[0] == "Iface" {
			continue
		}
		lines = append(lines, strings.Join([]string{dotted(t, f[1]), dotted(t, f[2]),
			dotted(t, f[7]), flags[f[3]], f[6], f[0]}, " "))
	}
	return lines
}

// dotted reads an address as the kernel writes it there: a 32-bit number in the machine's order.
func dotted(t *testing.T, word string) string {
	t.Helper()
	raw, err := hex.DecodeString(word)
	if err != nil || len(raw) != 4 {
		t.Fatalf("address %q: %v", word, err)
	}
	var addr [4]byte
	binary.NativeEndian.PutUint32(addr[:], binary.BigEndian.Uint32(raw))
	return netip.AddrFrom4(addr).String()
}

func TestKernelServer(t *testing.T) {
	iptest.Namespace(t)
	iptest.OpenTun(t, "tun0", 0)
	before, dir := state(t), t.TempDir()
	r, recorder := newRouter(t, dir)
	if err := r.Overlap(t.Context(), prefix("10.1.1.0/24")); err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(t.Context(), pair("10.1.1.1", "10.1.1.2")); err != nil {
		t.Fatal(err)
	}
	golden(t, "server.txt", recorder.Transcript())
	want := []string{
		"10.1.1.0 10.1.1.2 255.255.255.0 UG 0 tun0",
		"10.1.1.2 0.0.0.0 255.255.255.255 UH 0 tun0",
	}
	if got := routeTable(t); !slices.Equal(got, want) {
		t.Errorf("the table is\n%s", strings.Join(got, "\n"))
	}
	if got := iptest.IP(t, "-4 -o addr show dev tun0"); !strings.Contains(got,
		"inet 10.1.1.1 peer 10.1.1.2/32 ") {
		t.Errorf("the address is %s", got)
	}
	if got := iptest.IP(t, "link show dev tun0"); !strings.Contains(got, "mtu 1400 ") ||
		!strings.Contains(got, "qlen 100") {
		t.Errorf("the link is %s", got)
	}
	if err := r.Overlap(t.Context(), prefix("10.1.1.0/24")); err != nil {
		t.Errorf("our own network: %v", err)
	}
	recorder.Reset()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	golden(t, "server-stop.txt", recorder.Transcript())
	if state(t) != before {
		t.Errorf("left\n%s", state(t))
	}
	empty(t, dir)
}

func TestKernelClient(t *testing.T) {
	before, dir := behindGateway(t), t.TempDir()
	r, recorder := newRouter(t, dir)
	for range 2 { // as after a reconnect
		if err := r.Bypass(t.Context(), port("101.43.253.110")); err != nil {
			t.Fatal(err)
		}
		if err := r.Apply(t.Context(), pair("10.1.1.3", "10.1.1.4")); err != nil {
			t.Fatal(err)
		}
		golden(t, "client-behind-gateway.txt", recorder.Transcript())
	}
	got := routeTable(t)
	for _, want := range []string{
		"10.1.1.0 10.1.1.4 255.255.255.0 UG 0 tun0",
		"10.1.1.4 0.0.0.0 255.255.255.255 UH 0 tun0",
		"101.43.253.110 192.168.107.2 255.255.255.255 UGH 0 ens160",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("the table lacks %s:\n%s", want, strings.Join(got, "\n"))
		}
	}
	recorder.Reset()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	golden(t, "client-behind-gateway-stop.txt", recorder.Transcript())
	if state(t) != before {
		t.Errorf("left\n%s", state(t))
	}
	empty(t, dir)
}

func TestKernelOtherAddress(t *testing.T) {
	before := behindGateway(t)
	r, recorder := newRouter(t, t.TempDir())
	for _, c := range []host.Want{pair("10.1.1.3", "10.1.1.4"), pair("10.1.1.5", "10.1.1.6")} {
		if err := errors.Join(r.Bypass(t.Context(), port("101.43.253.110")),
			r.Apply(t.Context(), c)); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "client-other-address.txt", recorder.Transcript())
	if err := r.Close(); err != nil || state(t) != before {
		t.Errorf("%v, left\n%s", err, state(t))
	}
}

func TestKernelGatewayChanges(t *testing.T) {
	behindGateway(t)
	r, recorder := newRouter(t, t.TempDir())
	server := port("101.43.253.110")
	bypass := func(want ...string) {
		t.Helper()
		recorder.Reset()
		if err := r.Bypass(t.Context(), server); err != nil {
			t.Fatal(err)
		}
		if got := recorder.Transcript(); got != strings.Join(want, "") {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	}
	const (
		addOther = "ip -4 r a 101.43.253.110/32 via 192.168.107.254 dev ens160\n"
		delOther = "ip -4 r d 101.43.253.110/32 via 192.168.107.254 dev ens160\n"
		addCard  = "ip -4 r a 101.43.253.110/32 via 10.0.0.1 dev eth1\n"
	)
	bypass(addBypass)
	iptest.IP(t, "route replace default via 192.168.107.254")
	bypass(delBypass, addOther)
	bypass()
	iptest.Link(t, "eth1", "10.0.0.5/8")
	iptest.IP(t,
		"route add 101.43.0.0/16 nexthop via 10.0.0.1 dev eth1 nexthop via 10.0.0.1 dev eth1 "+
			"weight 3")
	bypass(delOther, addCard)
	bypass()
	iptest.IP(t, "link set eth1 down") // takes its routes along, ours as well
	iptest.IP(t, "route replace default via 192.168.107.2")
	bypass(addBypass)
	iptest.IP(t, "route del default")
	if err := r.Bypass(t.Context(), server); !errors.Is(err, route.ErrNoRoute) {
		t.Errorf("got %v", err)
	}
	iptest.IP(t, "route add unreachable 101.0.0.0/8")
	if err := r.Bypass(t.Context(), server); !errors.Is(err, route.ErrNoRoute) {
		t.Errorf("got %v", err)
	}
	iptest.IP(t, "route del unreachable 101.0.0.0/8")
	iptest.IP(t, "route add 101.43.253.0/24 via inet6 fe80::1 dev ens160")
	bypass("ip -4 r a 101.43.253.110/32 via inet6 fe80::1 dev ens160\n")
	bypass()
	before := strings.ReplaceAll(state(t), "101.43.253.110 via inet6 fe80::1 dev ens160 \n", "")
	if err := r.Close(); err != nil || state(t) != before {
		t.Errorf("%v, is\n%s\nwant\n%s", err, state(t), before)
	}
}

func TestKernelBypassOfUser(t *testing.T) {
	for _, bypass := range []string{
		"route add 101.43.253.110/32 via 192.168.107.2 dev ens160",
		"route add 101.43.253.110/32 via 192.168.107.2 dev ens160 metric 50",
		"route add 101.43.253.110/32 via 192.168.107.9 dev ens160 proto static",
	} {
		t.Run(bypass, func(t *testing.T) {
			behindGateway(t)
			iptest.IP(t, bypass)
			before := state(t)
			r, recorder := newRouter(t, t.TempDir())
			for range 2 {
				if err := r.Bypass(t.Context(), port("101.43.253.110")); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.Close(); err != nil || recorder.Transcript() != "" || state(t) != before {
				t.Errorf("%v, ran\n%s", err, recorder.Transcript())
			}
		})
	}
}

func TestKernelOverlap(t *testing.T) {
	behindGateway(t)
	iptest.Link(t, "eth1", "10.1.0.5/16")
	iptest.IP(t, "route add 10.9.9.0/24 via 192.168.107.3 table 77")
	iptest.IP(t, "rule add lookup 77")
	iptest.IP(t, "route add blackhole 10.8.0.0/16")
	iptest.IP(t, "addr add dev lo 10.7.7.7/32")
	r, _ := newRouter(t, t.TempDir())
	for network, want := range map[string]string{
		"10.1.1.0/24": "10.1.1.0/24 overlaps the route 10.1.0.0/16 dev eth1",
		"10.9.0.0/16": "10.9.0.0/16 overlaps the route 10.9.9.0/24 via 192.168.107.3 dev ens160 " +
			"table 77",
		"10.8.0.0/16": "10.8.0.0/16 overlaps the route blackhole 10.8.0.0/16",
		"10.7.7.0/24": "10.7.7.0/24 overlaps the address 10.7.7.7 dev lo",
	} {
		if err := r.Overlap(t.Context(), prefix(network)); !errors.Is(err, route.ErrOverlap) ||
			err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	// the second goes before the blackhole
	for _, network := range []string{"10.2.0.0/16", "10.8.8.0/30"} {
		if err := r.Overlap(t.Context(), prefix(network)); err != nil {
			t.Error(err)
		}
	}
}

// A run is killed; the next one heals what is left, whether its device went with it or somebody
// else keeps it.
func TestKernelKilled(t *testing.T) {
	for name, keep := range map[string]bool{"device gone": false, "device kept": true} {
		t.Run(name, func(t *testing.T) {
			behindGateway(t)
			iptest.IP(t, "link del tun0")
			withoutDevice := state(t)
			tun, dir := iptest.OpenTun(t, "tun0", 0), t.TempDir()
			victim := startVictim(t, dir)
			if _, err := openJournal(dir, "tun0"); !errors.Is(err, journal.ErrBusy) {
				t.Errorf("while it lives: %v", err)
			}
			report, err := journal.Cleanup(t.Context(),
				journal.Machine{Run: cmdrun.NewExec(nil), Look: rtnl.Kernel{}}, host.Kinds(), nil,
				dir)
			if err != nil || len(report.Busy) != 1 || report.Busy[0].PID != victim.Process.Pid {
				t.Errorf("while it lives: %+v, %v", report, err)
			}
			kill(t, victim)
			if !keep {
				if err := tun.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if !strings.Contains(state(t), "101.43.253.110 via 192.168.107.2 dev ens160") {
				t.Fatal("the bypass did not outlive its run")
			}
			j, err := openJournal(dir, "tun0")
			if err != nil {
				t.Fatal(err)
			}
			removed, err := j.Heal(t.Context(),
				journal.Machine{Run: cmdrun.NewExec(nil), Look: rtnl.Kernel{}})
			want := []string{"route 101.43.253.110/32 via 192.168.107.2 dev ens160"}
			if keep {
				want = append([]string{
					"route 10.1.1.0/24 via 10.1.1.4 dev tun0",
					"address 10.1.1.3 peer 10.1.1.4 dev tun0",
				}, want...)
			}
			if err != nil || !slices.Equal(removed, want) {
				t.Errorf("got %v, %v", removed, err)
			}
			if err := j.Close(); err != nil || state(t) != withoutDevice {
				t.Errorf("%v, left\n%s", err, state(t))
			}
			empty(t, dir)
		})
	}
}

// Of devices, only what a run left while it was creating it is removed.
func TestKernelHealDevice(t *testing.T) {
	for name, test := range map[string]struct {
		make func(t *testing.T)
		goes bool
	}{
		"idle": {func(t *testing.T) {
			t.Helper()
			iptest.IP(t,
				"tuntap add dev tun0 mode tun")
		}, true},
		"idle, several queues": {func(t *testing.T) {
			t.Helper()
			iptest.IP(t,
				"tuntap add dev tun0 mode tun multi_queue")
		}, false},
		"idle, up": {func(t *testing.T) {
			t.Helper()
			iptest.IP(t, "tuntap add dev tun0 mode tun")
			iptest.IP(t, "link set tun0 up")
		}, true},
		"not persistent": {func(t *testing.T) { t.Helper(); iptest.OpenTun(t, "tun0", 0) }, false},
		"in use": {func(t *testing.T) {
			t.Helper()
			tun := iptest.OpenTun(t, "tun0", 0)
			if err := unix.IoctlSetInt(int(tun.Fd()), unix.TUNSETPERSIST, 1); err != nil {
				t.Fatal(err)
			}
		}, false},
		"in use, up": {func(t *testing.T) {
			t.Helper()
			tun := iptest.OpenTun(t, "tun0", 0)
			if err := unix.IoctlSetInt(int(tun.Fd()), unix.TUNSETPERSIST, 1); err != nil {
				t.Fatal(err)
			}
			iptest.IP(t, "link set tun0 up")
		}, false},
		"in use, several queues": {func(t *testing.T) {
			t.Helper()
			iptest.IP(t, "tuntap add dev tun0 mode tun multi_queue")
			iptest.OpenTun(t, "tun0", unix.IFF_MULTI_QUEUE)
		}, false},
		"a TAP": {func(t *testing.T) {
			t.Helper()
			iptest.IP(t,
				"tuntap add dev tun0 mode tap")
		}, false},
		"a bridge": {func(t *testing.T) { t.Helper(); iptest.IP(t, "link add tun0 type bridge") },
			false},
	} {
		t.Run(name, func(t *testing.T) {
			iptest.Namespace(t)
			dir := t.TempDir()
			leave(t, dir, `{"kind":"device","dev":"tun0"}`+"\n")
			test.make(t)
			report, err := journal.Cleanup(t.Context(),
				journal.Machine{Run: cmdrun.NewExec(nil), Look: rtnl.Kernel{}}, host.Kinds(), nil,
				dir)
			if err != nil || (len(report.Removed) == 1) != test.goes {
				t.Errorf("got %v, %v", report, err)
			}
			if there := strings.Contains(iptest.IP(t, "link show"), " tun0: "); there == test.goes {
				t.Errorf("the device is there: %v", there)
			}
			empty(t, dir)
		})
	}
}
