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
// net/netfilter/nft_fib.c). It also drops what is forwarded from a source that lives in the tunnel,
// wherever it goes and whatever its state: connection tracking would take the next packet, into the
// tunnel, for an answer.
func (b builder) sources() []string {
	if len(b.Networks) == 0 && len(b.Maps) == 0 && !b.Public && len(b.guards.IPv4) == 0 {
		return nil
	}
	// A network's broadcast address would be that of all its hosts, and of this machine.
	rules := []string{"iifname " + b.tunnel + " fib daddr type broadcast drop"}
	if len(b.guards.Inside) > 0 {
		rules = append(rules, "iifname != "+nftcmd.Set(`"lo"`, b.tunnel)+" ip saddr "+
			nftcmd.Addresses(b.guards.Inside...)+" fib saddr oifname "+b.tunnel+
			" fib daddr type != local drop")
	}
	rules = append(rules, b.published()...)
	return append(rules, "ct state "+beginning()+" fib daddr oifname "+b.tunnel+
		" fib saddr . iif oif missing drop")
}

// published drops what was sent to the internet from the tunnel, and what another program has since
// led to this machine or to a private network (DNAT). This machine's address in the tunnel may be
// reached: so a transparent proxy is.
func (b builder) published() []string {
	if !b.Public {
		return nil
	}
	private := nftcmd.Addresses(b.private()...)
	led := "iifname " + b.tunnel + " ct direction original ct status dnat ct original ip daddr != " +
		private
	own := ""
	if b.Tracked != nil {
		own = " ip daddr != " + nftcmd.Addresses(b.Tracked.Network)
	}
	return []string{led + " fib daddr type local" + own + " drop",
		led + " fib daddr type != local ip daddr " + private + " drop"}
}

// insiders drops what comes by any other interface and has the source of a host that lives in the
// tunnel. That is so whether or not this machine has a route to it there: by a default route every
// uplink leads to the network of a client that is away, and to a translated one, of which no route
// of this machine knows. Wherever it goes it is dropped, before connection tracking keeps it: else
// the next packet, into the tunnel, would pass for an answer.
func (b builder) insiders() []string {
	known := slices.Concat(b.clients(), b.there())
	if len(known) == 0 {
		return nil
	}
	return []string{"iifname != " + b.tunnel + " ip saddr " + nftcmd.Addresses(known...) +
		" drop"}
}

// clients returns a server's network and those behind its clients.
func (b builder) clients() []netip.Prefix {
	if b.Tracked == nil {
		return nil
	}
	return append([]netip.Prefix{b.Tracked.Network}, b.Tracked.Behind...)
}

// hidden drops what a network begins that clients do not reach, before another program translates
// its address to this machine's, as Docker does: else clients would get it as the server's own. A
// port that is published here and led to a client (DNAT) is.
func (b builder) hidden() []string {
	if b.Tracked == nil {
		return nil
	}
	from := ""
	if len(b.Networks) > 0 {
		from = " ip saddr != " + nftcmd.Addresses(b.Networks...)
	}
	return []string{"iifname != " + b.tunnel + " oifname " + b.tunnel + " ct state new" +
		" ct original ip daddr " + nftcmd.Addresses(b.clients()...) + from + " drop"}
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
