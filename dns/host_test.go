package dns_test

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"tunnel/cmdrun"
	"tunnel/dns"
	"tunnel/dns/dnstest"
	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/route"
	"tunnel/rtnl"
)

// recorded returns the Host of tun0, and what it runs.
func recorded(t *testing.T) (*host.Host, *iptest.Recorder) {
	t.Helper()
	recorder := iptest.NewRecorder(cmdrun.NewExec(nil))
	h, err := newHost(recorder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h, recorder
}

// TestHostKeeps has a Host keep what it has set, whatever changes it, and follow its Want.
func TestHostKeeps(t *testing.T) {
	t.Parallel()
	for name, disturb := range map[string]func(*dnstest.Machine){
		"resolved":   func(m *dnstest.Machine) { m.Run("resolvectl", "revert", "tun0") },
		"resolvconf": func(m *dnstest.Machine) { m.Run("resolvconf", "-d", "tun.tun0") },
		"openresolv": func(m *dnstest.Machine) { m.Run("resolvconf", "-d", "tun.tun0") },
		"file": func(m *dnstest.Machine) {
			m.Write("/etc/new", "nameserver "+dnstest.Router+"\n")
			m.Run("mv", "/etc/new", dnstest.ResolvConf)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := machines()[name](t)
			m.Serve(dnstest.Router, "192.0.2.80")
			m.Serve("10.1.1.1", "10.50.1.80")
			m.Run("ip", "link", "set", "tun0", "mtu", "1400", "qlen", "100")
			before := snapshot(m)
			h, recorder := recorded(t)
			w := want()
			for _, step := range []struct {
				do   func()
				name string // which resolves
				in   bool   // by the tunnel's server
			}{
				{func() {}, "a.example", true},
				{func() { recorder.Reset() }, "b.example", true},
				{func() { disturb(m) }, "c.example", true},
				{func() { w.Names.Domains = []string{"other.example"} }, "d.example", true},
				{func() { w.Names = dns.Config{} }, "e.example", false},
				{func() { w.Names = want().Names }, "f.example", true},
			} {
				step.do()
				if err := h.Apply(t.Context(), w); err != nil {
					t.Fatalf("%s: %v", step.name, err)
				}
				address := "192.0.2.80"
				if step.in {
					address = "10.50.1.80"
				}
				if !m.Resolves(step.name, address) {
					t.Errorf("%s is not %s", step.name, address)
				}
				if step.name == "b.example" { // nothing differed: nothing was changed
					for _, c := range recorder.Commands() {
						if c.Program == "resolvectl" && len(c.Args) == 2 ||
							c.Program == "resolvconf" && c.Args[0] == "-l" {
							continue
						}
						t.Errorf("ran %s", c)
					}
				}
			}
			if err := h.Withdraw(t.Context()); err != nil {
				t.Error(err)
			}
			if after := snapshot(m); after != before {
				t.Errorf("withdrawn, left\n%s\nwant\n%s", after, before)
			}
			if err := h.Apply(t.Context(), w); err != nil {
				t.Error(err)
			}
			if err := h.Close(); err != nil {
				t.Error(err)
			}
			if after := snapshot(m); after != before {
				t.Errorf("left\n%s\nwant\n%s", after, before)
			}
		})
	}
}

// TestHostContest has another program write the file at once, again and again: it has its way in
// the end, and the device stays as it is. With time it is tried again.
func TestHostContest(t *testing.T) {
	t.Parallel()
	m := dnstest.New(t)
	h, _ := recorded(t)
	const theirs = "nameserver 192.0.2.9\n"
	for range 6 {
		if err := h.Apply(t.Context(), want()); err != nil {
			t.Fatal(err)
		}
		m.Write(dnstest.ResolvConf, theirs)
	}
	err := h.Apply(t.Context(), want())
	if !errors.Is(err, dns.ErrNotSet) || errors.Is(err, host.ErrContested) {
		t.Errorf("%v", err)
	}
	if !strings.Contains(m.Run("ip", "route"), "10.1.1.0/24 via 10.1.1.4 dev tun0") {
		t.Error("the route is gone")
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if got := m.Read(dnstest.ResolvConf); got != theirs {
		t.Errorf("left %s", got)
	}
}

// TestHostErrors has names that the machine cannot be given: the rest is set nevertheless.
func TestHostErrors(t *testing.T) {
	t.Parallel()
	m := dnstest.New(t)
	h, _ := recorded(t)
	w := want()
	w.Names.All = false
	if err := h.Apply(t.Context(), w); !errors.Is(err, dns.ErrNotAll) {
		t.Errorf("one domain without systemd-resolved: %v", err)
	}
	w = want()
	w.Names.Servers = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	if err := h.Apply(t.Context(), w); !errors.Is(err, dns.ErrConfig) {
		t.Errorf("this machine: %v", err)
	}
	m.Write(dnstest.ResolvConf, "nameserver 127.0.0.53\n") // and systemd-resolved is not there
	if err := h.Apply(t.Context(), want()); !errors.Is(err, dns.ErrNotSet) {
		t.Errorf("no systemd-resolved: %v", err)
	}
	m.Write(dnstest.ResolvConf, "")
	m.Run("mount", "--bind", "-o", "ro", dnstest.ResolvConf, dnstest.ResolvConf)
	if err := h.Apply(t.Context(), want()); !errors.Is(err, dns.ErrNotSet) ||
		!strings.Contains(err.Error(), "read-only file system") {
		t.Errorf("read-only: %v", err)
	}
	if !strings.Contains(m.Run("ip", "route"), "10.1.1.0/24 via 10.1.1.4 dev tun0") {
		t.Error("the route is not set")
	}
}

// TestHostOverlap has the tunnel's DNS server be in its network: that is no reason to withdraw it,
// while this machine's own is one.
func TestHostOverlap(t *testing.T) {
	t.Parallel()
	m := dnstest.NewResolvconf(t)
	h, _ := recorded(t)
	h.Resolvers = dns.Servers
	network := netip.MustParsePrefix("10.1.1.0/24")
	if err := h.Apply(t.Context(), want()); err != nil {
		t.Fatal(err)
	}
	if servers, err := dns.Servers(); err != nil || len(servers) != 2 {
		t.Errorf("%v, %v", servers, err)
	}
	if err := h.Overlap(t.Context(), network); err != nil {
		t.Error(err)
	}
	m.Run("sh", "-c", "echo nameserver 10.1.1.77 | resolvconf -a eth0.dhclient")
	if err := h.Overlap(t.Context(), network); !errors.Is(err, route.ErrOverlap) {
		t.Errorf("%v", err)
	}
}

// TestHostDryRun prints what would be done for each machine, and does nothing.
func TestHostDryRun(t *testing.T) {
	t.Parallel()
	const link = `ip link set dev tun0 up mtu 1400 qlen 100
ip addr add dev tun0 local 10.1.1.3 peer 10.1.1.4
ip route add 10.1.1.0/24 via 10.1.1.4 dev tun0
`
	for name, names := range map[string]string{
		"resolved": `resolvectl domain tun0 corp.example ~.
resolvectl default-route tun0 yes
resolvectl dns tun0 10.1.1.1
`,
		"resolvconf": `resolvconf -a tun.tun0 -m 0 -x <<'EOF'
nameserver 10.1.1.1
search corp.example
EOF
`,
		"file": `tee /etc/resolv.conf <<'EOF'
nameserver 10.1.1.1
search corp.example
EOF
`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := machines()[name](t)
			before := snapshot(m)
			var out bytes.Buffer
			h := host.New(journal.Machine{Run: cmdrun.DryRun{W: &out}, Look: rtnl.Kernel{}}, nil, nil)
			if err := errors.Join(h.Apply(t.Context(), want()), h.Close()); err != nil {
				t.Error(err)
			}
			if out.String() != link+names {
				t.Errorf("printed\n%s", &out)
			}
			if after := snapshot(m); after != before {
				t.Errorf("left\n%s", after)
			}
		})
	}
}

// TestForgedFacts has a journal that somebody else has written: it changes nothing.
func TestForgedFacts(t *testing.T) {
	t.Parallel()
	const file, record = `{"kind":"resolv.conf","dev":"tun0"`, `{"kind":"resolvconf","dev":`
	for name, line := range map[string]string{
		"a text":            file + `,"servers":"10.1.1.1","saved":"nameserver 192.0.2.66"}`,
		"a path":            file + `,"servers":"10.1.1.1","path":"/etc/shadow"}`,
		"another's journal": file + `,"servers":"10.1.1.1","journal":"0123456789ab-c1-tun7"}`,
		"no journal":        file + `,"servers":"10.7.0.1"}`,
		"a file":            file + `,"servers":"10.7.0.1","journal":"/etc/passwd"}`,
		"another device": `{"kind":"resolv.conf","dev":"tun7","servers":"10.7.0.1",` +
			`"journal":"0123456789ab-c1-tun7"}`,
		"the record of eth": record + `"eth0.dhclient","servers":"192.168.9.1"}`,
		"a record's path":   record + `"../../etc/passwd","servers":"10.1.1.1"}`,
		"no servers":        record + `"tun0","servers":""}`,
		"another link":      `{"kind":"resolved","dev":"eth0","servers":"192.168.9.1","all":true}`,
		"an option":         `{"kind":"resolved","dev":"--help","servers":"192.168.9.1","all":true}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := dnstest.New(t)
			// A file of another live run is in the place.
			h, _ := recorded(t)
			if err := h.Apply(t.Context(), want()); err != nil {
				t.Fatal(err)
			}
			text := m.Read(dnstest.ResolvConf)
			j, err := openOther()
			if err := errors.Join(err, h.Close()); err != nil {
				t.Fatal(err)
			}
			m.Write(dnstest.ResolvConf, strings.Replace(text, "-tun0\n", "-tun7\n", 1))
			before := m.Snapshot()
			path := "/run/tunnel/" + strings.Replace(j.Name(), "tun7", "tun0", 1) + ".json"
			m.Write(path, `{"tunnel":"tun0","pid":1}`+"\n"+
				strings.ReplaceAll(line, "0123456789ab-c1-tun7", j.Name())+"\n")
			m.Run("chmod", "600", path)
			recorder := iptest.NewRecorder(cmdrun.NewExec(nil))
			report, err := journal.Cleanup(t.Context(),
				journal.Machine{Run: recorder, Look: rtnl.Kernel{}}, host.Kinds(), nil, "/run/tunnel")
			if err != nil || len(report.Removed) != 0 || len(recorder.Commands()) != 0 {
				t.Errorf("removed %q, %v; ran %v", report.Removed, err, recorder.Commands())
			}
			if after := m.Snapshot(); after != before {
				t.Errorf("left\n%s", after)
			}
			if err := j.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// openOther opens the journal of another device.
func openOther() (*journal.Journal, error) {
	dir, err := journal.Dir()
	if err != nil {
		return nil, err
	}
	return journal.Open(dir, "tun7", host.Kinds())
}
