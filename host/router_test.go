package host_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"tunnel/cmdrun"
	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
)

// setup returns a Router on a pretended machine behind a gateway, with a journal.
func setup(t *testing.T) (*iptest.Kernel, *iptest.Recorder, *host.Host, string) {
	t.Helper()
	kernel, dir := pretend(t, true), t.TempDir()
	j, err := openJournal(dir, "tun0")
	if err != nil {
		t.Fatal(err)
	}
	recorder := iptest.NewRecorder(kernel)
	r := host.New(journal.Machine{Run: recorder, Look: kernel}, j, nil)
	t.Cleanup(func() { _ = r.Close() })
	return kernel, recorder, r, dir
}

func empty(t *testing.T, dir string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 0 {
		t.Errorf("left in the journal's directory: %v, %v", files, err)
	}
}

func TestSetDifferences(t *testing.T) {
	first := pair("10.1.1.3", "10.1.1.4")
	otherMTU, otherNetwork, dirty := first, pair("10.1.1.3", "10.1.1.4"),
		pair("10.1.1.3", "10.1.1.4")
	otherMTU.MTU = 1300
	otherNetwork.Routes[0].Prefix = prefix("10.1.0.0/16")
	dirty.Routes[0].Prefix = prefix("10.1.1.99/24")
	for name, test := range map[string]struct {
		then host.Want
		want string
	}{
		"same":         {first, ""},
		"same network": {dirty, ""},
		"mtu":          {otherMTU, "ip link set dev tun0 up mtu 1300 qlen 100\n"},
		"network": {otherNetwork,
			"ip route del 10.1.1.0/24 via 10.1.1.4 dev tun0\nip route add 10.1.0.0/16 via " +
				"10.1.1.4 dev tun0\n"},
		"local, not the route": {pair("10.1.1.9", "10.1.1.4"),
			"ip route del 10.1.1.0/24 via 10.1.1.4 dev tun0\nip addr del dev tun0 local 10.1.1.3 " +
				"peer 10.1.1.4\nip addr add dev tun0 local 10.1.1.9 peer 10.1.1.4\nip route add " +
				"10.1.1.0/24 via 10.1.1.4 dev tun0\n"},
	} {
		t.Run(name, func(t *testing.T) {
			kernel, recorder, r, dir := setup(t)
			before := kernel.Dump()
			if err := r.Apply(t.Context(), first); err != nil {
				t.Fatal(err)
			}
			recorder.Reset()
			if err := r.Apply(t.Context(), test.then); err != nil {
				t.Fatal(err)
			}
			if got := recorder.Transcript(); got != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
			if err := errors.Join(r.Close(), r.Close()); err != nil {
				t.Error(err)
			}
			if kernel.Dump() != before {
				t.Errorf("left\n%s", kernel.Dump())
			}
			empty(t, dir)
		})
	}
}

func TestSetRefusals(t *testing.T) {
	_, recorder, r, _ := setup(t)
	for want, change := range map[string]func(*host.Want){
		`"eth 0" is not a device name`: func(c *host.Want) { c.Dev = "eth 0" },
		`"../../../etc/x" is not a`:    func(c *host.Want) { c.Dev = "../../../etc/x" },
		"the journal is that of tun0":  func(c *host.Want) { c.Dev = "tun1" },
		"mtu 67 is not 68 to 65535":    func(c *host.Want) { c.MTU = 67 },
		"qlen 0 is not positive":       func(c *host.Want) { c.Qlen = 0 },
		"are not an IPv4 pair": func(c *host.Want) {
			c.Addresses[0].Peer =
				addr("fd00::1")
		},
		"invalid Prefix is not an IPv4 ": func(c *host.Want) {
			c.Routes[0].Prefix =
				netip.Prefix{}
		},
	} {
		c := pair("10.1.1.1", "10.1.1.2")
		change(&c)
		if err := r.Apply(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if len(recorder.Commands()) != 0 {
		t.Error("commands ran")
	}
}

// A failed Set leaves what it did to the next one, which goes on, or to Close.
func TestSetFailure(t *testing.T) {
	const command = "ip route add 10.1.1.0/24 via 10.1.1.2 dev tun0"
	for _, retry := range []bool{false, true} {
		kernel, recorder, r, dir := setup(t)
		before := kernel.Dump()
		kernel.Fail(command, 2, "RTNETLINK answers: Operation not permitted")
		err := r.Apply(t.Context(), pair("10.1.1.1", "10.1.1.2"))
		var failed *cmdrun.Error
		if !errors.As(err, &failed) || failed.Command.String() != command ||
			!errors.Is(err, os.ErrPermission) {
			t.Fatalf("got %v", err)
		}
		if retry {
			kernel.Fail(command, 0, "")
			recorder.Reset()
			if err := r.Apply(t.Context(), pair("10.1.1.1", "10.1.1.2")); err != nil {
				t.Fatal(err)
			}
			if got := recorder.Transcript(); got != command+"\n" {
				t.Errorf("went on with\n%s", got)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if kernel.Dump() != before {
			t.Errorf("left\n%s", kernel.Dump())
		}
		empty(t, dir)
	}
}

// cut is a Runner that makes a change and then loses its answer, as when the context ends while ip
// runs.
type cut struct {
	cmdrun.Runner
	command string
}

func (c cut) Run(ctx context.Context, command cmdrun.Command) ([]byte, error) {
	out, err := c.Runner.Run(ctx, command)
	if command.String() == c.command {
		return nil, &cmdrun.Error{Command: command, ExitCode: -1, Err: context.Canceled}
	}
	return out, err
}

func TestSetCutShort(t *testing.T) {
	for _, command := range []string{
		"ip addr add dev tun0 local 10.1.1.1 peer 10.1.1.2",
		"ip route add 10.1.1.0/24 via 10.1.1.2 dev tun0",
	} {
		kernel := pretend(t, true)
		before := kernel.Dump()
		r := host.New(journal.Machine{Run: cut{kernel, command}, Look: kernel}, nil, nil)
		if err := r.Apply(t.Context(), pair("10.1.1.1", "10.1.1.2")); !errors.Is(err,
			context.Canceled) {
			t.Fatalf("got %v", err)
		}
		if err := r.Close(); err != nil || kernel.Dump() != before {
			t.Errorf("%v, left\n%s", err, kernel.Dump())
		}
	}
}

// Close leaves what somebody else has changed, and is silent about a device that is gone.
func TestCloseRemovesOnlyItsOwn(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*testing.T, *iptest.Kernel)
		want   string
	}{
		"device gone": {
			func(_ *testing.T, k *iptest.Kernel) { k.DelLink("tun0") },
			"ip -4 r d 101.43.253.110/32 via 192.168.107.2 dev ens160\n",
		},
		"all gone": {
			func(_ *testing.T, k *iptest.Kernel) { k.DelLink("tun0"); k.DelLink("ens160") }, "",
		},
		"another device of the name, with the same address": {
			func(t *testing.T, k *iptest.Kernel) {
				t.Helper()
				k.DelLink("tun0")
				k.AddLink("dummy")
				k.AddLink("tun0")
				do(t, k, "ip addr add dev tun0 local 10.1.1.3 peer 10.1.1.4",
					"ip route add 10.1.1.0/24 via 10.1.1.4 dev tun0")
			},
			"ip -4 r d 101.43.253.110/32 via 192.168.107.2 dev ens160\n",
		},
		"route replaced": {
			func(t *testing.T, k *iptest.Kernel) {
				t.Helper()
				do(t, k, "ip -4 r d 101.43.253.110/32 via 192.168.107.2 dev ens160",
					"ip -4 r a 101.43.253.110/32 via 192.168.107.2 dev ens160 proto static")
				k.DelLink("tun0")
			},
			"",
		},
	} {
		t.Run(name, func(t *testing.T) {
			kernel, recorder, r, dir := setup(t)
			if err := r.Bypass(t.Context(), port("101.43.253.110")); err != nil {
				t.Fatal(err)
			}
			if err := r.Apply(t.Context(), pair("10.1.1.3", "10.1.1.4")); err != nil {
				t.Fatal(err)
			}
			test.change(t, kernel)
			recorder.Reset()
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if got := recorder.Transcript(); got != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
			empty(t, dir)
			if err := r.Apply(t.Context(), pair("10.1.1.3", "10.1.1.4")); !errors.Is(err,
				os.ErrClosed) {
				t.Errorf("Set after Close: %v", err)
			}
			if err := r.Bypass(t.Context(), port("101.43.253.110")); !errors.Is(err, os.ErrClosed) {
				t.Errorf("Bypass after Close: %v", err)
			}
		})
	}
}

// What Close cannot undo stays in the journal for Cleanup.
func TestCloseFailure(t *testing.T) {
	kernel, _, r, dir := setup(t)
	before := kernel.Dump()
	if err := r.Apply(t.Context(), pair("10.1.1.1", "10.1.1.2")); err != nil {
		t.Fatal(err)
	}
	const command = "ip addr del dev tun0 local 10.1.1.1 peer 10.1.1.2"
	kernel.Fail(command, 2, "RTNETLINK answers: Device or resource busy")
	if err := r.Close(); err == nil || !strings.Contains(err.Error(),
		"undo address 10.1.1.1 peer 10.1.1.2 dev tun0: ") {
		t.Fatalf("got %v", err)
	}
	if report, err := journal.Cleanup(t.Context(), journal.Machine{Run: kernel, Look: kernel},
		host.Kinds(), nil, dir); err == nil || len(report.Removed) != 0 {
		t.Errorf("got %v, %v", report, err)
	}
	kernel.Fail(command, 0, "")
	report, err := journal.Cleanup(t.Context(), journal.Machine{Run: kernel, Look: kernel},
		host.Kinds(), nil, dir)
	if err != nil || strings.Join(report.Removed,
		",") != "address 10.1.1.1 peer 10.1.1.2 dev tun0" {
		t.Errorf("got %v, %v", report, err)
	}
	if kernel.Dump() != before {
		t.Errorf("left\n%s", kernel.Dump())
	}
	empty(t, dir)
}
