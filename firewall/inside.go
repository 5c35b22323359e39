package firewall

import (
	"net/netip"
	"slices"

	"tunnel/nftcmd"
)

// beginning returns the states of what may begin a connection, or belongs to none: rules of others
// may leave packets out of connection tracking (notrack).
func beginning() string { return nftcmd.Bits("invalid", "new", "untracked") }

// sources drops what begins, on its way into the tunnel, by an interface that does not lead to its
// source: a neighbor on another link could pose as a host of a network here. Answers may come in
// elsewhere, because which uplink leads to their source may depend on more than that. Before
// Linux 5.19 a chain of the hook forward cannot look that up (nft_fib_validate in
// net/netfilter/nft_fib.c).
func (b builder) sources() []string {
	if len(b.Networks) == 0 && len(b.Maps) == 0 && !b.Public && len(b.guards.IPv4) == 0 {
		return nil
	}
	return []string{"ct state " + beginning() + " fib daddr oifname " + b.tunnel +
		" fib saddr . iif oif missing drop"}
}

// insiders drops what comes by any other interface and has the source of a host that lives in the
// tunnel. That is so whether or not this machine has a route to it there: by a default route every
// uplink leads to the network of a client that is away, and to a translated one, of which no route
// of this machine knows. Where a packet leaves the hook forward knows for sure, whatever rules of
// routing have led it there.
func (b builder) insiders() []string {
	var known []netip.Prefix
	if t := b.Tracked; t != nil {
		known = append([]netip.Prefix{t.Network}, t.Behind...)
	}
	if known = append(known, b.there()...); len(known) == 0 {
		return nil
	}
	return []string{"oifname " + b.tunnel + " iifname != " + b.tunnel + " ip saddr " +
		nftcmd.Addresses(known...) + " drop"}
}

// translated accepts what comes from the tunnel to translated networks, by their translated
// addresses only. What connection tracking has left as it was, such as an invalid segment, is
// dropped: a default route would lead it to a host elsewhere that has the address.
func (b builder) translated() []string {
	if len(b.Maps) == 0 {
		return nil
	}
	from, here := "iifname "+b.tunnel+" ", nftcmd.Addresses(b.here()...)
	return []string{from + "ct status dnat ip daddr " + here + " accept",
		from + "ct direction reply ip daddr " + here + " accept",
		from + "ip daddr " + nftcmd.Addresses(slices.Concat(b.here(), b.there())...) + " drop"}
}

// untranslated drops what still has a real address of a translated network when it leaves into the
// tunnel. It comes after postrouting.
func (b builder) untranslated() []string {
	if len(b.Maps) == 0 {
		return nil
	}
	return []string{"oifname " + b.tunnel + " ip saddr " + nftcmd.Addresses(b.here()...) + " drop"}
}

// here returns the real addresses of the translated networks.
func (b builder) here() (all []netip.Prefix) {
	for _, m := range b.Maps {
		all = append(all, m.Here)
	}
	return all
}

// there returns the addresses by which the tunnel knows them.
func (b builder) there() (all []netip.Prefix) {
	for _, m := range b.Maps {
		all = append(all, m.There)
	}
	return all
}
