package firewall

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"tunnel/nftcmd"
	"tunnel/rtnl"
)

const (
	ndHopLimit = "ip6 hoplimit 255 " // a packet that no router has forwarded (RFC 4861 section 7.1)
	linkLocal  = "fe80::/10"
	toLink     = "ff02::/16" // multicast on the link
)

// input lets in what belongs to what output lets out.
func (b builder) input() []string {
	k := b.KillSwitch
	if k == nil || k.Inbound {
		return nil
	}
	rules := append(k.ended(),
		"iifname "+nftcmd.Set(`"lo"`, b.tunnel)+" accept",
		"ct state "+nftcmd.Bits("established", "related")+" accept",
		ipv4+" udp sport 67 udp dport 68 accept", // DHCP
		"ip6 saddr "+linkLocal+" udp sport 547 udp dport 546 accept",
		ndHopLimit+"icmpv6 type "+nftcmd.Set("nd-router-advert", "nd-neighbor-solicit",
			"nd-neighbor-advert", "nd-redirect")+" accept",
		"ip6 saddr "+linkLocal+" icmpv6 type mld-listener-query accept",
	)
	return append(rules, k.lan("saddr")...)
}

// output judges what this machine sends.
func (b builder) output() []string {
	k := b.KillSwitch
	switch {
	case b.refusing():
		return b.refuseOwn()
	case k == nil:
		return nil
	}
	rules := append(k.ended(), k.always(b.tunnel)...)
	rules = append(rules, k.guardDNS()...)
	rules = append(rules, k.lan("daddr")...)
	if k.Inbound {
		rules = append(rules, b.Older.rules("", refuse)...)
		rules = append(rules, answers+"ct state "+
			nftcmd.Bits("established", "related")+" accept")
	}
	return append(rules, refuseAll("")...)
}

// always accepts what leaves whatever else does not.
func (k *KillSwitch) always(tunnel string) []string {
	return []string{
		"oifname " + nftcmd.Set(`"lo"`, tunnel) + " accept",
		"meta mark " + strconv.FormatUint(uint64(k.Mark), 10) + " accept",
		// A DHCP server, or a relay, with a public address is on the link, or is asked again by
		// broadcast (RFC 2131 section 4.4.5). Some clients take a refused packet for a failure.
		"ip daddr " + nftcmd.Addresses(notPublic()...) + " udp sport 68 udp dport 67 accept",
		"ip daddr != " + nftcmd.Addresses(notPublic()...) + " udp sport 68 udp dport 67 " +
			"ip ttl set 1 accept",
		"ip6 daddr " + nftcmd.Set(linkLocal, toLink) + " udp sport 546 udp dport 547 accept",
		ndHopLimit + "icmpv6 type " + nftcmd.Set("nd-router-solicit", "nd-neighbor-solicit",
			"nd-neighbor-advert") + " accept",
		// A switch may pass a group's packets only to ports that have reported it (RFC 4541), and
		// neighbors are found by groups.
		"ip6 daddr " + toLink + " icmpv6 type " + nftcmd.Set("mld-listener-report",
			"mld2-listener-report") + " accept",
	}
}

// ended lets all pass once a kill switch on trial has ended.
func (k *KillSwitch) ended() []string {
	if k.Until.IsZero() {
		return nil
	}
	return []string{"meta time >= " + strconv.FormatInt(k.Until.Unix(), 10) + " accept"}
}

// guardDNS refuses what asks for names outside the tunnel, before anything but the tunnel's own
// look-ups can pass.
func (k *KillSwitch) guardDNS() []string {
	if !k.GuardDNS {
		return nil
	}
	ports := " dport " + nftcmd.Set("53", "853") + " "
	return append([]string{"udp" + ports + refuse}, refuseAll("tcp"+ports)...)
}

// lan accepts the LAN's addresses in a field of the header, each network's by its interface. By
// the interfaces it also accepts
// link-local addresses, and destinations that all hosts on the link listen to: elsewhere these
// would tell a public network the names of this machine and of what it looks for.
func (k *KillSwitch) lan(field string) (rules []string) {
	four, six := near(field, k.LAN)
	rules = slices.Concat(four, six)
	links := slices.DeleteFunc(slices.Clone(k.Links), func(dev string) bool {
		return checkName(dev) != nil
	})
	switch {
	case len(links) == 0:
		return rules
	case field == "saddr":
		return append(rules, "iifname "+nftcmd.Names(links...)+" ip6 saddr "+linkLocal+" accept")
	}
	by := "oifname " + nftcmd.Names(links...) + " "
	// Local multicast (RFC 5771 section 4), which mDNS uses, UPnP, broadcast.
	return append(rules, by+"ip daddr "+nftcmd.Addresses(netip.MustParsePrefix("224.0.0.0/24"),
		netip.MustParsePrefix("239.255.255.250/32"),
		netip.MustParsePrefix("255.255.255.255/32"))+" accept",
		by+"ip6 daddr "+nftcmd.Set(linkLocal, toLink)+" accept")
}

// near accepts packets that have an address of the networks in a field, and come, or leave, by the
// network's interface.
func near(field string, lan []rtnl.Near) (four, six []string) {
	by := "oifname "
	if field == "saddr" {
		by = "iifname "
	}
	networks := map[string][]netip.Prefix{}
	for _, n := range lan {
		if checkName(n.Dev) == nil {
			networks[n.Dev] = append(networks[n.Dev], n.Network)
		}
	}
	for _, dev := range slices.Sorted(maps.Keys(networks)) {
		var of4, of6 []netip.Prefix
		for _, n := range networks[dev] {
			if n.Addr().Is4() {
				of4 = append(of4, n)
			} else {
				of6 = append(of6, n)
			}
		}
		if len(of4) > 0 {
			four = append(four,
				by+nftcmd.Names(dev)+" ip "+field+" "+nftcmd.Addresses(of4...)+" accept")
		}
		if len(of6) > 0 {
			six = append(six,
				by+nftcmd.Names(dev)+" ip6 "+field+" "+nftcmd.Addresses(of6...)+" accept")
		}
	}
	return four, six
}
