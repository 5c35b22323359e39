package server_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tunnel/auth"
	"tunnel/server"
	"tunnel/transport"
)

// hearsDNS waits for the next update, which must have these DNS servers and domains.
func (l *listener) hearsDNS(serial uint64, servers []netip.Addr, domains ...string) {
	l.t.Helper()
	select {
	case u := <-l.updates:
		if u.Serial != serial || !slices.Equal(u.DNS, servers) ||
			!slices.Equal(u.Domains, domains) {
			l.t.Errorf("%s was told %+v; want serial %d, %v, %v", l.own(), u, serial, servers,
				domains)
		}
	case <-time.After(patience):
		l.t.Fatalf("%s was told nothing; want %v, %v", l.own(), servers, domains)
	}
}

func addresses(texts ...string) (all []netip.Addr) {
	for _, s := range texts {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

// A client is told the DNS servers and domains for all clients, with those of its token, and of
// each change while it is connected.
func TestPushedDNS(t *testing.T) {
	all := addresses("10.1.1.1", "192.168.7.53")
	h := serve(t, "10.1.1.0/24", func(c *server.Config) {
		c.Site.DNS, c.Site.Domains = all, []string{"corp.example"}
	})
	laptop := h.listen(h.token(auth.Spec{Name: "laptop"}), transport.Connect{})
	laptop.hearsDNS(1, all, "corp.example")
	own := addresses("172.16.0.53")
	lab := h.listen(h.token(auth.Spec{Name: "lab", DNS: own, Domains: []string{"a.example"}}),
		transport.Connect{})
	lab.hearsDNS(1, own, "a.example", "corp.example")

	set := func(name string, change auth.Change) {
		t.Helper()
		if _, err := h.Server.SetToken(name, change); err != nil {
			t.Fatal(err)
		}
	}
	set("lab", auth.Change{DNS: &[]netip.Addr{}})
	lab.hearsDNS(2, all, "a.example", "corp.example")
	set("lab", auth.Change{Domains: &[]string{}})
	lab.hearsDNS(3, all, "corp.example")
	set("laptop", auth.Change{DNS: &own, Domains: &[]string{"corp.example", "b.example"}})
	laptop.hearsDNS(2, own, "b.example", "corp.example") // and nothing of the changes of lab
}

// A token cannot have DNS servers or domains that an update cannot have, alone or together with
// those for all clients.
func TestDNSRefused(t *testing.T) {
	h := serve(t, "10.1.1.0/24", nil)
	var many []string
	for i := range transport.MaxDomains + 1 {
		many = append(many, fmt.Sprintf("d%d.example", i))
	}
	dns := addresses("10.1.1.1")
	for want, spec := range map[string]auth.Spec{
		"no DNS server that knows their names": {Domains: []string{"corp.example"}},
		"more than 128":                        {DNS: dns, Domains: many},
		"not a name in lower case":             {DNS: dns, Domains: []string{"Corp.example"}},
		"not the address of a host":            {DNS: addresses("0.0.0.0")},
	} {
		spec.Name = "x"
		_, _, err := h.Server.CreateToken(spec)
		if !errors.Is(err, auth.ErrSpec) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	h.token(auth.Spec{Name: "y", DNS: dns, Domains: many[1:]})
	_, err := h.Server.SetToken("y", auth.Change{DNS: &[]netip.Addr{}})
	if !errors.Is(err, auth.ErrSpec) || !strings.Contains(err.Error(), "no DNS server") {
		t.Error(err)
	}
}

// A token that a server was not asked about, because it did not run, and that has domains without a
// DNS server, costs its clients these domains and nothing else.
func TestDomainsWithoutDNS(t *testing.T) {
	path := t.TempDir() + "/state"
	h := serveFile(t, path, "10.1.1.0/24", func(c *server.Config) {
		c.Site.DNS = addresses("10.1.1.1")
	})
	text := h.token(auth.Spec{Name: "laptop", Domains: []string{"corp.example"},
		PushRoutes: prefixes("172.16.0.0/16")})
	h.Close()
	h = serveFile(t, path, "10.1.1.0/24", nil)
	h.listen(text, transport.Connect{}).hears(1, "172.16.0.0/16")
	h.logged("clients are not told any DNS servers", 1)
}
