package dns

import (
	"context"
	"slices"
	"strings"
	"testing"

	"tunnel/dns/dnstest"
	"tunnel/journal"
	"tunnel/rtnl"
)

// made has the Fact that Choose returns for c be made, as a Host does.
func made(t *testing.T, c Config, kind string) Fact {
	t.Helper()
	link, err := rtnl.Kernel{}.LinkByName("tun0")
	if err != nil {
		t.Fatal(err)
	}
	f, err := Choose(c, Owner{Dev: "tun0", Index: link.Index, Journal: ours})
	if err != nil || f.Kind() != kind {
		t.Fatalf("%v, %v", f, err)
	}
	if err := f.Make(t.Context(), real()); err != nil {
		t.Fatal(err)
	}
	if intact, err := f.Intact(real()); !intact || err != nil {
		t.Errorf("intact: %v, %v", intact, err)
	}
	return f
}

// real is a machine with a kernel.
func real() journal.Machine {
	m := kernel()
	m.Look = rtnl.Kernel{}
	return m
}

func undone(t *testing.T, f Fact, want bool) {
	t.Helper()
	if removed, err := journal.Undo(context.Background(), real(), f); removed != want || err != nil {
		t.Errorf("removed %v, %v", removed, err)
	}
}

// names resolves each name by the router's server and the tunnel's, and checks which was asked.
func names(t *testing.T, m *dnstest.Machine, want map[string]string) {
	t.Helper()
	for name, address := range want {
		if !m.Resolves(name, address) {
			out, err := m.Try("getent", "ahostsv4", name)
			t.Errorf("%s is not %s: %q, %v", name, address, out, err)
		}
	}
}

// The answers of the router's name server, and of that behind the tunnel.
const (
	outside = "192.0.2.80"
	inside  = "10.50.1.80"
)

// connected gives the machine the tunnel's address, and starts both name servers.
func connected(m *dnstest.Machine) (router, tunnel *dnstest.Server) {
	m.Run("ip", "addr", "add", "dev", "tun0", "10.1.1.3/24")
	return m.Serve(dnstest.Router, outside), m.Serve("10.1.1.1", inside)
}

// TestResolved has systemd-resolved send only the names of a domain to the tunnel's server, then
// all names, then none, also when its own settings are of another program.
func TestResolved(t *testing.T) {
	t.Parallel()
	m, _ := dnstest.NewResolved(t)
	router, tunnel := connected(m)
	before := m.Snapshot()
	names(t, m, map[string]string{"a.corp.example": outside, "a.example": outside})

	f := made(t, config(false, "10.1.1.1", "corp.example", "other.example"), "resolved")
	names(t, m, map[string]string{"b.corp.example": inside, "corp.example": inside,
		"b.other.example": inside, "b.example": outside, "b.corp.example.net": outside})
	if asked := tunnel.Asked(); slices.Contains(asked, "b.example.") ||
		slices.Contains(asked, "b.corp.example.net.") {
		t.Errorf("the tunnel's server was asked for %q", asked)
	}
	if asked := router.Asked(); slices.Contains(asked, "b.corp.example.") {
		t.Errorf("the router was asked for %q", asked)
	}
	undone(t, f, true)
	undone(t, f, false)
	names(t, m, map[string]string{"c.corp.example": outside, "c.example": outside})

	f = made(t, config(true, "10.1.1.1", "corp.example"), "resolved")
	names(t, m, map[string]string{"d.corp.example": inside, "d.example": inside})
	if asked := router.Asked(); slices.Contains(asked, "d.example.") {
		t.Errorf("the router was asked for %q", asked)
	}
	names(t, m, map[string]string{"short": inside}) // a name without a dot, in the domain
	if asked := tunnel.Asked(); !slices.Contains(asked, "short.corp.example.") {
		t.Errorf("the tunnel's server was asked for %q", asked)
	}
	// Less than all of it is not intact, and other servers are another program's.
	m.Run("resolvectl", "default-route", "tun0", "no")
	if intact, err := f.Intact(real()); intact || err != nil {
		t.Errorf("intact: %v, %v", intact, err)
	}
	m.Run("resolvectl", "dns", "tun0", "10.1.1.9")
	undone(t, f, false)
	if after := m.Snapshot(); after != before {
		t.Errorf("left\n%s", after)
	}
}

// TestResolvedWraps has as many servers and domains as there may be, which resolvectl prints in
// several lines.
func TestResolvedWraps(t *testing.T) {
	t.Parallel()
	dnstest.NewResolved(t)
	c := config(false, "10.1.1.1 10.1.1.2 10.1.1.5 10.1.1.6 10.1.1.7 2001:db8::1 2001:db8::2 10.1.1.8")
	for i := range MaxDomains {
		c.Domains = append(c.Domains, strings.Repeat("a", i%60+1)+"."+strings.Repeat("b", i%7+1)+
			".example"+strings.Repeat("c", i/60))
	}
	undone(t, made(t, c, "resolved"), true)
}

// TestResolvedAnotherDevice has the device be gone, and another have its name: that is not touched.
func TestResolvedAnotherDevice(t *testing.T) {
	t.Parallel()
	m, _ := dnstest.NewResolved(t)
	f := made(t, config(true, "10.1.1.1"), "resolved")
	m.Run("ip", "link", "del", "tun0")
	undone(t, f, false)
	m.Run("ip", "link", "add", "tun0", "type", "veth", "peer", "name", "other0")
	m.Run("resolvectl", "dns", "tun0", "10.1.1.1")
	undone(t, f, false)
	if out := m.Run("resolvectl", "dns", "tun0"); !strings.Contains(out, "10.1.1.1") {
		t.Errorf("left %q", out)
	}
}

// TestResolvedStops has systemd-resolved stop: there is nothing to undo.
func TestResolvedStops(t *testing.T) {
	t.Parallel()
	m, resolved := dnstest.NewResolved(t)
	f := made(t, config(true, "10.1.1.1"), "resolved")
	if err := resolved.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	m.WaitFor("end of systemd-resolved", func() bool {
		_, err := m.Try("resolvectl", "dns")
		return err != nil
	})
	undone(t, f, false)
	if err := f.Make(t.Context(), real()); err == nil {
		t.Error("made without it")
	}
}

// TestResolvconf has both programs of that name use the tunnel's server, also when another record
// changes meanwhile, and not any more at the end.
func TestResolvconf(t *testing.T) {
	t.Parallel()
	for name, machine := range map[string]func(*testing.T, ...string) *dnstest.Machine{
		"Debian's":   dnstest.NewResolvconf,
		"openresolv": dnstest.NewOpenresolv,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := machine(t)
			router, _ := connected(m)
			before := m.Snapshot()
			names(t, m, map[string]string{"a.example": outside})
			f := made(t, config(true, "10.1.1.1", "corp.example"), "resolvconf")
			names(t, m, map[string]string{"b.example": inside, "short": inside})
			if asked := router.Asked(); slices.Contains(asked, "b.example.") {
				t.Errorf("the router was asked for %q", asked)
			}
			m.Run("sh", "-c", "echo nameserver 192.168.9.7 | resolvconf -a eth1.dhclient")
			names(t, m, map[string]string{"c.example": inside})
			if intact, err := f.Intact(real()); !intact || err != nil {
				t.Errorf("intact: %v, %v", intact, err)
			}
			m.Run("resolvconf", "-d", "eth1.dhclient")
			undone(t, f, true)
			undone(t, f, false)
			if after := m.Snapshot(); after != before {
				t.Errorf("left\n%s\nwant\n%s", after, before)
			}
			names(t, m, map[string]string{"d.example": outside})
			// A record of another Config is another program's.
			f = made(t, config(true, "10.1.1.1"), "resolvconf")
			m.Run("sh", "-c", "echo nameserver 10.1.1.9 | resolvconf -a tun.tun0")
			undone(t, f, false)
		})
	}
}
