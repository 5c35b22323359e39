package host_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tunnel/cmdrun"
	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/rtnl"
)

var update = flag.Bool("update", false, "write the golden transcripts anew")

// golden compares got with testdata/golden/name, byte for byte.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("../testdata/golden", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\ngot\n%swant\n%s", name, got, want)
	}
}

func pair(local, peer string) host.Want {
	return host.Pair("tun0", 1400, 100, addr(local), addr(peer), prefix("10.1.1.0/24"))
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// port returns the server's port of an address.
func port(text string) netip.AddrPort { return netip.AddrPortFrom(addr(text), 443) }

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

// pretend returns a pretended machine with an interface; behindGateway says whether it has a
// default route.
func pretend(t *testing.T, behindGateway bool) *iptest.Kernel {
	t.Helper()
	kernel := iptest.New("lo", "ens160", "tun0")
	do(t, kernel, "ip route add 192.168.107.0/24 dev ens160 proto kernel")
	if behindGateway {
		do(t, kernel, "ip route add default via 192.168.107.2 dev ens160")
	}
	return kernel
}

// newOn returns a Router on a pretended machine.
func newOn(kernel *iptest.Kernel) *host.Host {
	return host.New(journal.Machine{Run: kernel, Look: kernel}, nil, nil)
}

func do(t *testing.T, kernel *iptest.Kernel, commands ...string) {
	t.Helper()
	for _, command := range commands {
		if err := kernel.Do(command); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGolden(t *testing.T) {
	server, client, other := pair("10.1.1.1", "10.1.1.2"), pair("10.1.1.3", "10.1.1.4"),
		pair("10.1.1.5", "10.1.1.6")
	public, neighbour := addr("101.43.253.110"), addr("192.168.107.9")
	type step func(t *testing.T, kernel *iptest.Kernel, r *host.Host) error
	set := func(c host.Want) step {
		return func(t *testing.T, _ *iptest.Kernel, r *host.Host) error {
			t.Helper()
			return r.Apply(t.Context(), c)
		}
	}
	bypass := func(server netip.Addr) step {
		return func(t *testing.T, _ *iptest.Kernel, r *host.Host) error {
			t.Helper()
			return r.Bypass(t.Context(), netip.AddrPortFrom(server, 443))
		}
	}
	gatewayChanges := func(t *testing.T, kernel *iptest.Kernel, _ *host.Host) error {
		t.Helper()
		do(t, kernel, "ip route del default via 192.168.107.2 dev ens160",
			"ip route add default via 192.168.107.254 dev ens160")
		return nil
	}
	for name, steps := range map[string][]step{
		"server":                {set(server)},
		"client":                {bypass(neighbour), set(client)},
		"client-behind-gateway": {bypass(public), set(client)},
		"client-reconnect":      {bypass(public), set(client), bypass(public), set(client)},
		"client-other-address":  {bypass(public), set(client), bypass(public), set(other)},
		"client-other-gateway": {bypass(public), set(client), gatewayChanges, bypass(public),
			set(client)},
	} {
		t.Run(name, func(t *testing.T) {
			kernel := pretend(t, true)
			before := kernel.Dump()
			recorder := iptest.NewRecorder(kernel)
			r := host.New(journal.Machine{Run: recorder, Look: kernel}, nil, nil)
			for _, step := range steps {
				if err := step(t, kernel, r); err != nil {
					t.Fatal(err)
				}
			}
			golden(t, name+".txt", recorder.Transcript())
			recorder.Reset()
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			golden(t, name+"-stop.txt", recorder.Transcript())
			after := strings.ReplaceAll(kernel.Dump(), "192.168.107.254", "192.168.107.2")
			if after != before {
				t.Errorf("left behind:\n%swas\n%s", after, before)
			}
		})
	}
}

// A dry run prints the same lines, whether or not it can look things up.
func TestDryRun(t *testing.T) {
	for name, lookup := range map[string]rtnl.Lookup{"client.txt": nil,
		"client-behind-gateway.txt": pretend(t, true)} {
		var out strings.Builder
		r := host.New(journal.Machine{Run: cmdrun.DryRun{W: &out}, Look: lookup}, nil, nil)
		if err := r.Overlap(t.Context(), prefix("10.1.1.0/24")); err != nil {
			t.Error(err)
		}
		if err := r.Bypass(t.Context(), port("101.43.253.110")); err != nil {
			t.Error(err)
		}
		if err := r.Apply(t.Context(), pair("10.1.1.3", "10.1.1.4")); err != nil {
			t.Error(err)
		}
		golden(t, name, out.String())
		out.Reset()
		more := pair("10.1.1.3", "10.1.1.4")
		more.Routes = append(more.Routes, host.Route{Prefix: prefix("192.168.7.0/24"),
			Via: addr("10.1.1.4")})
		if err := r.Apply(t.Context(), more); err != nil ||
			out.String() != "ip route add 192.168.7.0/24 via 10.1.1.4 dev tun0\n" {
			t.Errorf("one route more: %v, printed %s", err, &out)
		}
		out.Reset()
		if err := r.Close(); err != nil || out.String() != "" {
			t.Errorf("closing: %v, printed %s", err, &out)
		}
	}
}

// openJournal opens a journal of all kinds of facts.
func openJournal(dir, dev string) (*journal.Journal, error) {
	return journal.Open(dir, dev, host.Kinds())
}
