package client

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tunnel/route"
	"tunnel/transport"
)

// A server chooses the client's addresses and network. This file decides which of its choices this machine takes, and how
// often one server may change its choice.

// private returns the networks that a server may grant a part of unless Config.Accept says otherwise: RFC 1918 and
// RFC 6598 section 7.
func private() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("100.64.0.0/10"),
	}
}

// The prefix lengths of a network that can be granted, as lease.CheckNetwork has them for a server: no larger than the
// largest private network, and with room for the server's pair and one client's.
const (
	MinNetworkBits = 8
	MaxNetworkBits = 29
)

// changePause is the least time between two changes of what one server grants.
const changePause = time.Minute

// acceptable reports why this machine does not take what a server grants; nil is that it does. Routes and addresses of this
// machine are for Host.Overlap, as are its DNS servers later in the session. That the same network was taken before says
// nothing: this machine may be elsewhere now, with other DNS servers.
func (c *Client) acceptable(link transport.Link) error {
	network := link.Network
	err := CheckGrant(network, link.Address, link.Peer, c.Accept)
	if err != nil || len(c.Accept) > 0 || c.Resolvers == nil {
		return err
	}
	resolvers, err := c.Resolvers()
	if err != nil {
		return refuse(fmt.Errorf("the server grants the network %s, and this machine's DNS servers are not known: %w", network, err),
			transport.ReasonResolversUnknown, network)
	}
	if resolver, found := route.FindResolver(network, resolvers); found {
		return refuse(fmt.Errorf("the server grants the network %s, which contains this machine's DNS server %s", network, resolver),
			transport.ReasonHasResolver, network)
	}
	return nil
}

// CheckGrant reports why a client that accepts these networks, or any private one if there are none, does not take a pair of
// addresses in network; nil is that it does. The error is a *transport.StepError.
func CheckGrant(network netip.Prefix, address, peer netip.Addr, accept []netip.Prefix) error {
	if bits := network.Bits(); bits < MinNetworkBits || bits > MaxNetworkBits {
		return refuse(fmt.Errorf("the server grants the network %s, which is not a /%d to /%d", network, MinNetworkBits, MaxNetworkBits),
			transport.ReasonNetwork, network)
	}
	if !isPair(network, address, peer) {
		return advise(fmt.Errorf("the server grants %s peer %s, which is no client's pair of addresses in %s", address, peer, network),
			"check that the server is a `tunnel serve` of a matching version")
	}
	if len(accept) > 0 {
		if !within(network, accept) {
			return refuse(fmt.Errorf("the server grants the network %s, and --network accepts %s", network, list(accept)),
				transport.ReasonNotAccepted, network)
		}
		return nil
	}
	if !within(network, private()) {
		return refuse(fmt.Errorf("the server grants the network %s, which is not a private one (%s)", network, list(private())),
			transport.ReasonNotAccepted, network)
	}
	return nil
}

// refuse is the failure of what a server grants.
func refuse(err error, why transport.Reason, network netip.Prefix) error {
	return &transport.StepError{Step: transport.StepAddress, Err: err, Reason: why, Subject: network.String()}
}

func advise(err error, advice string) error {
	return &transport.StepError{Step: transport.StepAddress, Err: err, Advice: advice}
}

// isPair reports whether the addresses are a client's pair of the network, as lease.PairOf numbers them: an odd address and
// the next, neither of them the server's (the first pair) nor the broadcast address.
func isPair(network netip.Prefix, address, peer netip.Addr) bool {
	last := address.AsSlice()
	return last[len(last)-1]%2 == 1 && network.Contains(address) && address != network.Addr().Next() &&
		peer == address.Next() && network.Contains(peer.Next())
}

// within reports whether network lies inside one of all.
func within(network netip.Prefix, all []netip.Prefix) bool {
	return slices.ContainsFunc(all, func(p netip.Prefix) bool {
		return p.Bits() <= network.Bits() && p.Contains(network.Addr())
	})
}

// list writes prefixes for a person.
func list(all []netip.Prefix) string {
	texts := make([]string, len(all))
	for i, p := range all {
		texts[i] = p.String()
	}
	return strings.Join(texts, ", ")
}

// errChanging says that a server changes its mind too often: each change runs commands and hooks.
var errChanging = errors.New("the server changes what it grants more than once a minute")

// changes refuses another change of what t grants, within changePause of the last.
func (t *target) changes(link transport.Link, now time.Time) error {
	if t.granted.IsZero() || t.granted.Equal(wantOf("", link)) || now.Sub(t.changed) >= changePause {
		return nil
	}
	return advise(fmt.Errorf("%w: %s of %s, then %s of %s", errChanging,
		t.granted.Addresses[0].Local, t.granted.Routes[0].Prefix, link.Address, link.Network),
		"it is taken when a minute has passed; ask whoever runs the server")
}

// took notes that the device has what t grants, and logs a change.
func (c *Client) took(t *target, link transport.Link, now time.Time) {
	before, granted := t.granted, wantOf("", link)
	if before.Equal(granted) {
		return
	}
	t.granted = granted
	if before.IsZero() {
		return
	}
	t.changed = now
	log := c.Log.With("server", t.dialer.URL.Host, "address", link.Address, "mtu", link.MTU, "qlen", link.Qlen)
	if from := before.Routes[0].Prefix; from != link.Network {
		log.Warn("the server changed the network", "from", from, "to", link.Network)
	} else {
		log.Warn("the server changed what it grants", "network", link.Network)
	}
}
