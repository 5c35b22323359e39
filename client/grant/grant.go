// Package grant checks whether a client may accept the network and the addresses that a server
// grants.
package grant

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"tunnel/route"
	"tunnel/transport"
)

// The prefix lengths of a network that can be granted, as in lease.CheckNetwork: no larger than the
// largest private network, and with room for the server's pair and one client's.
const (
	MinBits = 8
	MaxBits = 29
)

// Check returns an error if a client must refuse a pair of addresses in network: accept are the
// networks that it accepts, or any private one if there are none. The error is a
// *transport.StepError.
func Check(network netip.Prefix, address, peer netip.Addr, accept []netip.Prefix) error {
	if bits := network.Bits(); bits < MinBits || bits > MaxBits {
		return refuse(fmt.Errorf("the server grants the network %s, which is not a /%d to /%d",
			network, MinBits, MaxBits),
			transport.ReasonNetwork, network)
	}
	if !isPair(network, address, peer) {
		return &transport.StepError{
			Step: transport.StepAddress,
			Err: fmt.Errorf("the server grants %s peer %s, which is no client's pair of addresses in %s",
				address, peer, network),
			Advice: "check that the server is a `tunnel serve` of a matching version",
		}
	}
	if len(accept) > 0 {
		if !within(network, accept) {
			return refuse(fmt.Errorf("the server grants the network %s; accepted: %s",
				network, list(accept)),
				transport.ReasonNotAccepted, network)
		}
		return nil
	}
	if !route.IsPrivate(network) {
		return refuse(fmt.Errorf("the server grants the network %s, which is not a private one (%s)",
			network, list(route.PrivateNetworks())),
			transport.ReasonNotAccepted, network)
	}
	return nil
}

// CheckResolvers returns an error if network, which only the server chose, contains one of this
// machine's DNS servers, or if these cannot be determined. The error is a *transport.StepError.
func CheckResolvers(network netip.Prefix, resolvers func() ([]netip.Addr, error)) error {
	all, err := resolvers()
	if err != nil {
		return refuse(fmt.Errorf("the server grants the network %s, and this machine's DNS servers "+
			"are not known: %w", network, err),
			transport.ReasonResolversUnknown, network)
	}
	if resolver, found := route.FindResolver(network, all); found {
		return refuse(fmt.Errorf("the server grants the network %s, which contains this machine's "+
			"DNS server %s", network, resolver),
			transport.ReasonHasResolver, network)
	}
	return nil
}

// refuse returns the error for a grant that is refused.
func refuse(err error, why transport.Reason, network netip.Prefix) error {
	return &transport.StepError{Step: transport.StepAddress, Err: err, Reason: why,
		Subject: network.String()}
}

// isPair reports whether the addresses are a client's pair of the network, as lease.PairOf numbers
// them: an odd address and the next, neither of them the server's (the first pair) nor the
// broadcast address.
func isPair(network netip.Prefix, address, peer netip.Addr) bool {
	if !address.Is4() || !peer.Is4() { // in a parent they come from the worker, which is not trusted
		return false
	}
	return address.As4()[3]%2 == 1 && network.Contains(address) &&
		address != network.Addr().Next() &&
		peer == address.Next() && network.Contains(peer.Next())
}

// within reports whether network lies inside one of all.
func within(network netip.Prefix, all []netip.Prefix) bool {
	return slices.ContainsFunc(all, func(p netip.Prefix) bool {
		return p.Bits() <= network.Bits() && p.Contains(network.Addr())
	})
}

// list formats prefixes for an error.
func list(all []netip.Prefix) string {
	texts := make([]string, len(all))
	for i, p := range all {
		texts[i] = p.String()
	}
	return strings.Join(texts, ", ")
}
