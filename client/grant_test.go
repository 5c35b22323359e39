package client

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"tunnel/keep"
	"tunnel/transport"
	"tunnel/transport/dial"
	"tunnel/transport/ws"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newEndpoint() *endpoint {
	return &endpoint{dialer: ws.Dialer{Dialer: dial.Dialer{URL: &url.URL{Host: "server.example"}}}}
}

// linkOf is what a server grants.
func linkOf(network, address, peer string) transport.Link {
	return transport.Link{
		Network: netip.MustParsePrefix(network), Address: netip.MustParseAddr(address),
		Peer: netip.MustParseAddr(peer), MTU: 1400, Qlen: 100,
	}
}

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func TestAcceptable(t *testing.T) {
	resolvers := func() ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("fd00::53"), netip.MustParseAddr("10.7.0.2"),
			netip.MustParseAddr("9.9.9.9")}, nil
	}
	for name, test := range map[string]struct {
		network, address, peer string
		accept                 []netip.Prefix
		want                   string // part of the error; "" for none
	}{
		"default":       {"10.1.1.0/24", "10.1.1.3", "10.1.1.4", nil, ""},
		"largest":       {"172.16.0.0/12", "172.31.255.3", "172.31.255.4", nil, ""},
		"smallest":      {"10.1.1.248/29", "10.1.1.251", "10.1.1.252", nil, ""},
		"its last pair": {"10.1.1.248/29", "10.1.1.253", "10.1.1.254", nil, ""},
		"RFC 1918, 172": {"172.31.0.0/16", "172.31.0.3", "172.31.0.4", nil, ""},
		"RFC 1918, 192": {"192.168.0.0/16", "192.168.255.3", "192.168.255.4", nil,
			""},
		"RFC 6598": {"100.64.0.0/10", "100.127.0.3", "100.127.0.4", nil, ""},
		"behind RFC 1918": {"172.32.0.0/16", "172.32.0.3", "172.32.0.4", nil,
			"not a private one"},
		"larger than RFC 1918": {"192.168.0.0/15", "192.168.0.3", "192.168.0.4", nil,
			"not a private one"},
		"public": {"9.9.9.0/24", "9.9.9.11", "9.9.9.12", nil,
			"not-accepted 9.9.9.0/24"},
		"a pair, public": {"9.9.9.8/31", "9.9.9.8", "9.9.9.9", nil, "not a /8 to /29"},
		"half of everything": {"128.0.0.0/2", "128.0.0.3", "128.0.0.4", nil,
			"not a /8 to /29"},
		"loopback": {"127.1.1.0/24", "127.1.1.3", "127.1.1.4", nil,
			"not a private one"},
		"link-local": {"169.254.1.0/24", "169.254.1.3", "169.254.1.4", nil,
			"not a private one"},
		"multicast": {"239.1.1.0/24", "239.1.1.3", "239.1.1.4", nil,
			"not a private one"},
		"a DNS server": {"10.7.0.0/24", "10.7.0.3", "10.7.0.4", nil,
			"DNS server 10.7.0.2"},
		"a DNS server that is meant": {"10.7.0.0/24", "10.7.0.3", "10.7.0.4",
			prefixes("10.7.0.0/16"), ""},
		"public that is meant": {"9.9.9.0/24", "9.9.9.11", "9.9.9.12",
			prefixes("10.0.0.0/8", "9.9.9.0/24"), ""},
		"private that is not meant": {"10.1.1.0/24", "10.1.1.3", "10.1.1.4",
			prefixes("10.1.2.0/24", "9.9.9.0/24"), "accepted: 10.1.2.0/24, 9.9.9.0/24"},
		"larger than what is meant": {"10.1.0.0/16", "10.1.1.3", "10.1.1.4",
			prefixes("10.1.1.0/24"), "accepted: 10.1.1.0/24"},
		"the server's own pair": {"10.1.1.0/24", "10.1.1.1", "10.1.1.2", nil,
			"no client's pair"},
		"the network's address": {"10.1.1.0/24", "10.1.1.0", "10.1.1.1", nil,
			"no client's pair"},
		"the broadcast address": {"10.1.1.0/24", "10.1.1.253", "10.1.1.255", nil,
			"no client's pair"},
		"the broadcast address again": {"10.1.1.0/24", "10.1.1.255", "10.1.2.0", nil,
			"no client's pair"},
		"even": {"10.1.1.0/24", "10.1.1.4", "10.1.1.5", nil,
			"no client's pair"},
		"backwards": {"10.1.1.0/24", "10.1.1.5", "10.1.1.4", nil,
			"no client's pair"},
		"the server as the peer": {"10.1.1.0/24", "10.1.1.3", "10.1.1.1", nil,
			"no client's pair"},
		"far apart": {"10.1.1.0/24", "10.1.1.3", "10.1.1.6", nil,
			"no client's pair"},
		"outside": {"10.1.1.0/24", "10.1.2.3", "10.1.2.4", nil,
			"no client's pair"},
		"ill-formed where it is meant": {"9.9.9.0/24", "9.9.9.8", "9.9.9.9", prefixes("9.9.9.0/24"),
			"no client's pair"},
	} {
		c := &Client{Config: Config{Accept: test.accept, Resolvers: resolvers},
			monitor: &pathMonitor{keeper: keep.New(nil, 0, nil)}}
		err := c.acceptable(linkOf(test.network, test.address, test.peer))
		var step *transport.StepError
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.want != "" && (!errors.As(err, &step) || step.Step != transport.StepAddress ||
			!strings.Contains(err.Error()+": "+string(step.Reason)+" "+step.Subject+step.Advice,
				test.want)):
			t.Errorf("%s: %v; want %s", name, err, test.want)
		}
	}
}

// Whatever it is that a server changes, it does so once a minute.
func TestChanges(t *testing.T) {
	c := &Client{Config: Config{Log: discard()}}
	first := linkOf("10.1.1.0/24", "10.1.1.3", "10.1.1.4")
	now := time.Unix(1e9, 0)
	for name, change := range map[string]func(*transport.Link){
		"network": func(l *transport.Link) { *l = linkOf("10.2.2.0/24", "10.2.2.3", "10.2.2.4") },
		"pair":    func(l *transport.Link) { *l = linkOf("10.1.1.0/24", "10.1.1.5", "10.1.1.6") },
		"mtu":     func(l *transport.Link) { l.MTU-- },
		"qlen":    func(l *transport.Link) { l.Qlen++ },
	} {
		server := newEndpoint()
		take := func(link transport.Link, at time.Time) bool {
			if server.changes(link, at) != nil {
				return false
			}
			c.took(server, link, at)
			return true
		}
		second := first
		change(&second)
		// which are nothing of the device's
		second.Session, second.Keepalive, second.Lanes = "another", time.Second, 4
		if !take(first, now) || !take(second, now) {
			t.Errorf("%s: the first change is refused", name)
		}
		if take(first, now.Add(changePause-1)) {
			t.Errorf("%s: there is a second change within a minute", name)
		}
		if !take(second, now.Add(changePause-1)) {
			t.Errorf("%s: what it is already is refused", name)
		}
		if !take(first, now.Add(changePause)) || take(second, now.Add(2*changePause-1)) ||
			!take(second, now.Add(2*changePause)) {
			t.Errorf("%s: not once a minute", name)
		}
	}
}

// A network is judged at each grant by the DNS servers of that time, whatever it was taken for
// before, and not taken while they are not known.
func TestResolversAreAskedEachTime(t *testing.T) {
	resolver, unknown := netip.MustParseAddr("198.51.100.53"), error(nil)
	c := &Client{monitor: &pathMonitor{keeper: keep.New(nil, 0, nil)},
		Config: Config{Resolvers: func() ([]netip.Addr,
			error) {
			return []netip.Addr{resolver}, unknown
		}}}
	link := linkOf("10.1.1.0/24", "10.1.1.3", "10.1.1.4")
	if err := c.acceptable(link); err != nil {
		t.Error(err)
	}
	resolver = netip.MustParseAddr("10.1.1.53")
	if c.acceptable(link) == nil {
		t.Error("taken again although a DNS server lies in it now")
	}
	resolver, unknown = netip.MustParseAddr("198.51.100.53"), fs.ErrPermission
	if c.acceptable(link) == nil {
		t.Error("taken although the DNS servers are not known")
	}
}
