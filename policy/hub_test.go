package policy

import (
	"net/netip"
	"testing"

	"tunnel/packet"
	"tunnel/tun/tuntest"
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// office is a hub with three clients: a laptop to which two networks are pushed, the second of
// which is behind a site; that site, which also has a large network; and a branch, which has a part
// of that. The branch is away, and nothing is known of a fourth but its address.
type office struct {
	Hub

	laptop, site, branch *Member
	networks             []behind // the first that has an address decides
}

// behind is a network behind a member.
type behind struct {
	netip.Prefix

	member *Member
}

func newOffice(clientToClient bool) *office {
	address := netip.MustParseAddr
	o := &office{
		Hub: Hub{Server: address("10.1.1.1"), Network: netip.MustParsePrefix("10.1.1.0/24"),
			ClientToClient: clientToClient},
		laptop: NewMember(address("10.1.1.3")), site: NewMember(address("10.1.1.5")),
		branch: NewMember(address("10.1.1.7")),
	}
	o.laptop.Set(NewRules(prefixes("172.16.1.0/24", "10.50.3.0/24")))
	o.networks = []behind{{netip.MustParsePrefix("10.50.7.0/24"), o.branch},
		{netip.MustParsePrefix("10.50.0.0/16"), o.site}}
	o.Member = func(a netip.Addr) (*Member, bool) {
		for _, m := range []*Member{o.laptop, o.site, o.branch} {
			if a == m.Address {
				return m, true
			}
		}
		for _, n := range o.networks {
			if n.Contains(a) {
				return n.member, true
			}
		}
		return nil, a == address("10.1.1.9")
	}
	return o
}

const (
	passes = "passed"
	kernel = "passed to the kernel"
)

func TestFromMember(t *testing.T) {
	open, closed := newOffice(true), newOffice(false)
	for _, test := range []struct {
		who          func(*office) *Member
		from, to     string
		closed, open string // without and with ClientToClient
	}{
		{laptop, "10.1.1.3", "10.1.1.1", kernel, kernel},
		{laptop, "10.1.1.3", "172.16.1.9", kernel, kernel},
		{laptop, "10.1.1.3", "172.16.2.9", "destination", "destination"},
		{laptop, "10.1.1.3", "192.0.2.1", "destination", "destination"},
		{laptop, "172.16.1.9", "10.1.1.1", "source", "source"},
		{laptop, "10.50.3.9", "10.1.1.1", "source", "source"},
		{laptop, "10.1.1.3", "224.0.0.1", "multicast", "multicast"},
		{laptop, "10.1.1.3", "10.1.1.255", "broadcast", "broadcast"},
		// A pushed network that is behind a client is reached there, and answers.
		{laptop, "10.1.1.3", "10.50.3.9", passes, passes},
		{site, "10.50.3.9", "10.1.1.3", passes, passes},
		{laptop, "10.1.1.3", "10.50.4.9", "client_to_client", passes},
		{site, "10.50.4.9", "10.1.1.3", "client_to_client", passes},
		{laptop, "10.1.1.3", "10.1.1.5", "client_to_client", passes},
		{laptop, "10.1.1.3", "10.1.1.9", "client_to_client", passes},
		{laptop, "10.1.1.3", "10.1.1.11", "client_to_client", passes},
		{site, "10.1.1.5", "10.1.1.3", "client_to_client", passes},
		// Nothing is pushed to the site.
		{site, "10.1.1.5", "172.16.1.9", "destination", "destination"},
		{site, "10.50.3.9", "172.16.1.9", "destination", "destination"},
		{site, "10.50.3.9", "10.1.1.1", kernel, kernel},
		// The longer prefix decides where a packet may come from.
		{site, "10.50.7.9", "10.1.1.1", "source", "source"},
		{branch, "10.50.7.9", "10.1.1.1", kernel, kernel},
		{branch, "10.50.8.9", "10.1.1.1", "source", "source"},
	} {
		for o, want := range map[*office]string{closed: test.closed, open: test.open} {
			v, toKernel := o.FromMember(test.who(o), batch(test.from, test.to), 0)
			got := v.String()
			if toKernel {
				got += " to the kernel"
			}
			if got != want {
				t.Errorf("%s to %s, ClientToClient %v: %s; want %s", test.from, test.to,
					o.ClientToClient, got, want)
			}
		}
	}
}

// What a client says of paths counts only for packets that went to it, and nothing else of it
// reaches the kernel.
func TestICMPErrorsOfMember(t *testing.T) {
	o := newOffice(true)
	for _, test := range []struct {
		to, sender, receiver string // of the error, and of the packet that it quotes
		want                 Verdict
	}{
		{"10.1.1.1", "10.1.1.1", "10.50.3.9", Pass},
		{"10.1.1.1", "10.1.1.1", "10.1.1.3", ICMP},
		{"10.1.1.1", "10.1.1.1", "10.50.7.9", ICMP},
		{"10.1.1.1", "198.51.100.1", "198.51.100.2", ICMP},
		{"10.1.1.3", "10.1.1.3", "10.1.1.5", Pass},
		{"10.1.1.3", "10.1.1.1", "10.1.1.5", ICMP},
	} {
		var b packet.Batch
		tuntest.Add(&b, tooBig("10.1.1.5", test.to, test.sender, test.receiver))
		v, kernel := o.FromMember(o.site, &b, 0)
		if v != test.want || kernel != (v == Pass && test.to == "10.1.1.1") {
			t.Errorf("to %s about %s to %s: %s, to the kernel: %v", test.to, test.sender,
				test.receiver, v, kernel)
		}
	}
}

func laptop(o *office) *Member { return o.laptop }
func site(o *office) *Member   { return o.site }
func branch(o *office) *Member { return o.branch }

func TestFromKernel(t *testing.T) {
	open, closed := newOffice(true), newOffice(false)
	for _, test := range []struct{ from, to, closed, open string }{
		{"10.1.1.1", "10.1.1.3", passes, passes},
		{"10.1.1.1", "10.50.3.9", passes, passes},
		{"172.16.1.9", "10.1.1.3", passes, passes},
		{"172.16.2.9", "10.1.1.3", "not_pushed", "not_pushed"},
		{"192.0.2.1", "10.1.1.3", "not_pushed", "not_pushed"},
		// What is pushed to one client is pushed to no other, nor to one of whom nothing is known.
		{"172.16.1.9", "10.1.1.5", "not_pushed", "not_pushed"},
		{"172.16.1.9", "10.50.3.9", "not_pushed", "not_pushed"},
		{"172.16.1.9", "10.1.1.9", "not_pushed", "not_pushed"},
		{"10.1.1.5", "10.1.1.3", "client_to_client", passes},
		{"10.50.3.9", "10.1.1.3", passes, passes},
		{"10.50.4.9", "10.1.1.3", "client_to_client", passes},
		{"127.0.0.1", "10.1.1.3", "loopback", "loopback"},
		{"172.16.1.9", "224.0.0.1", "multicast", "multicast"},
	} {
		for o, want := range map[*office]string{closed: test.closed, open: test.open} {
			if got := o.FromKernel(tuntest.Packet(test.from, test.to, 1)); got.String() != want {
				t.Errorf("%s to %s, ClientToClient %v: %s; want %s", test.from, test.to,
					o.ClientToClient, got, want)
			}
		}
	}
}

// Rules that are replaced, and networks that another client has, count for the next packet.
func TestRulesChange(t *testing.T) {
	o := newOffice(false)
	if v, _ := o.FromMember(o.site, batch("10.1.1.5", "172.16.1.9"), 0); v != Destination {
		t.Fatal(v)
	}
	o.site.Set(NewRules(prefixes("172.16.0.0/12")))
	o.networks[1].member = o.branch
	if v, k := o.FromMember(o.site, batch("10.1.1.5", "172.16.1.9"), 0); v != Pass || !k {
		t.Error(v)
	}
	if v, _ := o.FromMember(o.site, batch("10.50.3.9", "10.1.1.1"), 0); v != Source {
		t.Error(v)
	}
	if v := o.FromKernel(tuntest.Packet("172.31.1.9", "10.1.1.5", 1)); v != Pass {
		t.Error(v)
	}
}
