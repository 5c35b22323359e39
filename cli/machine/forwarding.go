package machine

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"tunnel/config"
	"tunnel/firewall"
	"tunnel/host"
	"tunnel/route"
	"tunnel/sysctl"
)

// ForwardRules returns the firewall of a server that forwards packets from its clients to these
// networks; the zero Rules if it forwards none. Networks behind clients are IPv4, or left out.
func ForwardRules(told *config.Serve, networks, behind []netip.Prefix) (r firewall.Rules) {
	if len(networks) == 0 && !told.Masquerade {
		return r
	}
	r = firewall.Rules{Networks: networks, Public: told.ReachesPublic(), Clamp: true,
		Tracked: tracked(told, behind)}
	switch {
	case r.Public:
		r.Masquerade = []netip.Prefix{config.AcceptAll()}
	case told.Masquerade:
		r.Masquerade = told.MasqueradeOnly
	}
	if r.Public && !route.IsPrivate(told.Network) { // its own address is not the internet's
		r.Networks = append(slices.Clone(networks), told.Network)
	}
	return r
}

// maxSenders is how many networks behind clients have a count of their own.
const maxSenders = 1024

// tracked limits the connections of clients that this machine tracks.
func tracked(told *config.Serve, behind []netip.Prefix) *firewall.Tracked {
	t := &firewall.Tracked{Network: told.Network}
	for _, n := range behind {
		if isNetwork(n) && !n.Overlaps(told.Network) && len(t.Behind) < maxSenders {
			t.Behind = append(t.Behind, n)
		}
	}
	return t
}

// CanForward reports whether a server forwards packets from its clients to a network: a private
// one, which a token may name while the server runs, or one that its flags name.
func CanForward(told *config.Serve, network netip.Prefix) bool {
	if network.Overlaps(told.Network) || !isNetwork(network) {
		return false
	}
	return route.IsPrivate(network) || slices.ContainsFunc(told.PushRoute,
		func(p netip.Prefix) bool { return p.Bits() <= network.Bits() && p.Contains(network.Addr()) })
}

// isNetwork reports whether a firewall can have the network.
func isNetwork(n netip.Prefix) bool {
	const anyDevice = "tun0"
	return (firewall.Rules{Networks: []netip.Prefix{n}}).Check(anyDevice, 0) == nil
}

// allowForwarding returns an error unless a server's flags allow its firewall and the kernel
// parameters. The interfaces are those that lead to networks of tokens, which this process does not
// know; what forwarding opens between others the firewall takes back.
func allowForwarding(told *config.Serve, want host.Want) error {
	networks := slices.DeleteFunc(slices.Clone(want.Firewall.Networks),
		func(n netip.Prefix) bool { return n == told.Network })
	for _, n := range networks {
		if !CanForward(told, n) {
			return fmt.Errorf("refused: forwarding to %s", n)
		}
	}
	var behind []netip.Prefix // which networks tokens have this process does not know either
	if want.Firewall.Tracked != nil {
		behind = want.Firewall.Tracked.Behind
	}
	none := want.Firewall.IsZero() && !told.Masquerade
	if !none && !want.Firewall.Equal(ForwardRules(told, networks, behind)) {
		return errors.New("refused: a firewall that no flag asks for")
	}
	for _, s := range want.Sysctls {
		if s.Name != sysctl.Forwarding || want.Firewall.IsZero() {
			return fmt.Errorf("refused: to set %s", s)
		}
	}
	return nil
}
