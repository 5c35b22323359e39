package firewall

import (
	"net/netip"
	"slices"
	"strconv"

	"tunnel/nftcmd"
	"tunnel/rtnl"
)

// ipTCPHeader is the size of the IPv4 and TCP headers without options, in bytes.
const ipTCPHeader = 40

// TableName returns the name of the table of a device.
func TableName(dev string) string { return "tunnel_" + dev }

// Guards names the interfaces on which this program has switched forwarding on: what comes in by
// them is forwarded into the tunnel only, and what comes in by the tunnel to Rules.Networks only,
// so that nothing else is opened.
type Guards struct {
	IPv4, IPv6 []string
	// Others are the devices of other runs that forward, see Beside: what comes in by IPv4 may also
	// be forwarded to these, which their own tables judge.
	Others []string
	// Inside are the networks that routes of this run lead into the tunnel to.
	Inside []netip.Prefix
	// Ways are the interfaces that lead to Rules.Reached, or to parts of it, each with all of its
	// interfaces, "" for one that is gone; the narrowest part decides. The kernel alone decides about
	// a part of which an interface has a name that nft reads as something else, and what is in none.
	Ways []rtnl.Near
}

// Check returns an ErrRules unless a table can be made of g.
func (g Guards) Check() error {
	for _, dev := range slices.Concat(g.IPv4, g.IPv6, g.Others) {
		if err := checkName(dev); err != nil {
			return err
		}
	}
	return nil
}

// Table returns the table of the device dev, with that MTU in bytes. The Rules and the Guards must
// have passed their Check.
func (r Rules) Table(dev string, mtu int, g Guards) nftcmd.Table {
	b := builder{Rules: r, tunnel: nftcmd.Names(dev), mtu: mtu, guards: g}
	t := nftcmd.Table{Name: TableName(dev), Counting: r.Tracked != nil}
	add := func(name, kind, hook string, priority int, policy string, rules []string) {
		if len(rules) > 0 {
			t.Chains = append(t.Chains, nftcmd.Chain{Name: name, Type: kind, Hook: hook,
				Priority: priority, Policy: policy, Rules: rules})
		}
	}
	if b.refusing() {
		t.Lease = Lease
	}
	policy := "accept"
	if r.KillSwitch != nil {
		policy = "drop"
	}
	// The priorities are those of the kernel's NF_IP_PRI_MANGLE, NF_IP_PRI_NAT_DST,
	// NF_IP_PRI_FILTER, NF_IP_PRI_NAT_SRC and NF_IP_PRI_SELINUX_LAST
	// (include/uapi/linux/netfilter_ipv4.h).
	add("arrival", "filter", "prerouting", -150, "accept", append(b.arrival(), b.own()...))
	add("tracked", "filter", "prerouting", -150, "accept", b.tracked())
	add("prerouting", "nat", "prerouting", -100, "accept", b.prerouting())
	add("sources", "filter", "prerouting", 0, "accept", b.sources())
	add("input", "filter", "input", 0, policy, b.input())
	add("forward", "filter", "forward", 0, policy, b.forward())
	add("answer", "route", "output", -150, "accept", b.answer())
	output := outputChain
	if r.KillSwitch != nil && !r.KillSwitch.Until.IsZero() {
		output = trialChain
	}
	add(output, "filter", "output", 0, policy, b.output())
	add("postrouting", "nat", "postrouting", 100, "accept", b.postrouting())
	add("untranslated", "filter", "postrouting", 225, "accept", b.untranslated())
	return t
}

// builder makes the rules of each chain.
type builder struct {
	Rules

	tunnel string // the device, quoted
	mtu    int
	guards Guards
}

// own drops what comes from the tunnel to this machine's own public addresses, which are not the
// internet. It comes before other programs translate such addresses, as Docker publishes ports.
func (b builder) own() []string {
	if !b.Public {
		return nil
	}
	return []string{"iifname " + b.tunnel + " fib daddr type local ip daddr != " +
		nftcmd.Addresses(b.private()...) + " drop"}
}

// prerouting gives packets from the tunnel the real addresses of their destinations.
func (b builder) prerouting() (rules []string) {
	for _, m := range b.Maps {
		here, there := nftcmd.Addresses(m.Here), nftcmd.Addresses(m.There)
		rules = append(rules, "iifname "+b.tunnel+" ip daddr "+there+" "+
			nftcmd.MapPrefix("dnat", "ip", "ip daddr", there, here))
	}
	return rules
}

// postrouting gives packets into the tunnel the addresses by which it knows their sources, and
// those from the tunnel this machine's.
func (b builder) postrouting() (rules []string) {
	for _, m := range b.Maps {
		here, there := nftcmd.Addresses(m.Here), nftcmd.Addresses(m.There)
		rules = append(rules, "oifname "+b.tunnel+" ip saddr "+here+" "+
			nftcmd.MapPrefix("snat", "ip", "ip saddr", here, there))
	}
	if len(b.Masquerade) > 0 {
		rules = append(rules, b.masqueraded()+" masquerade")
	}
	return rules
}

// masqueraded matches what is sent with this machine's address.
func (b builder) masqueraded() string {
	to := "ip daddr " + nftcmd.Addresses(b.Masquerade...)
	if slices.Contains(b.Masquerade, everything()) {
		to = ipv4
	}
	return "iifname " + b.tunnel + " oifname != " + b.tunnel + " " + to
}

const (
	ipv4 = "meta nfproto ipv4"
	ipv6 = "meta nfproto ipv6"
	// refuse tells a program that its packet does not leave.
	refuse = "reject with icmpx admin-prohibited"
)

// refuseAll refuses what matches. For the first segment of a connection it does so by a reset: in
// connect(2) ICMP is noted only and the segment is sent again after a second, because the socket is
// in use (tcp_v4_err in net/ipv4/tcp_ipv4.c). Connections that have begun are not reset, and go on
// when they may.
func refuseAll(match string) []string {
	return []string{match + "tcp flags syn reject with tcp reset", match + refuse}
}

// forward drops forged sources, clamps, drops what is not translated, takes back what forwarding
// has opened beyond the tunnel, and then leaves no other path than the tunnel. What accepts comes
// after the clamp.
func (b builder) forward() (rules []string) {
	rules = b.insiders()
	if b.Clamp {
		clamp := " " + ipv4 + " tcp flags syn tcp option maxseg size set " +
			strconv.Itoa(b.mtu-ipTCPHeader)
		rules = append(rules, "iifname "+b.tunnel+clamp, "oifname "+b.tunnel+clamp)
	}
	rules = append(append(rules, b.astray()...), b.translated()...)
	if len(b.Masquerade) > 0 {
		// What belongs to no connection is not translated, and would leave with its own address.
		rules = append(rules, b.masqueraded()+" ct state "+nftcmd.Bits("invalid", "untracked")+" drop")
	}
	if b.Public { // The internet answers, and begins nothing.
		rules = append(rules, "oifname "+b.tunnel+" ct state "+beginning()+
			" ip saddr != "+nftcmd.Addresses(b.private()...)+" drop")
	}
	rules = append(rules, b.hidden()...)
	for _, dev := range b.guards.IPv4 {
		if nftcmd.Names(dev) == b.tunnel {
			rules = append(rules, b.toNetworks()...)
		}
		rules = append(rules, b.guard(ipv4, dev, b.guards.Others))
	}
	for _, dev := range b.guards.IPv6 {
		rules = append(rules, b.guard(ipv6, dev, nil))
	}
	if b.refusing() {
		rules = append(rules, b.refuseIPv6()...)
	}
	if k := b.KillSwitch; k != nil {
		rules = append(rules, k.ended()...)
		rules = append(rules, "iifname "+b.tunnel+" accept", "oifname "+b.tunnel+" accept")
		rules = append(rules, k.guardDNS()...)
		rules = append(append(rules, k.lan("daddr")...), refuse)
	}
	return rules
}

// guard drops what would not be forwarded if this program had not switched it on. It goes by the
// interface's index, as the kernel's parameter does: both stay with an interface that is renamed,
// and neither is another's that gets its name. nft takes the name and keeps the index. A bridge
// that passes its own packets to nftables (br_netfilter) has one index for both sides: these pass.
func (b builder) guard(protocol, dev string, others []string) string {
	name := nftcmd.Names(dev)
	if name == b.tunnel { // a run ends when its own device is renamed
		return protocol + " iifname " + name + " oifname != " + name + " drop"
	}
	to := []string{b.tunnel}
	for _, other := range others {
		to = append(to, nftcmd.Names(other))
	}
	return protocol + " meta iif " + name + " meta oif != " + name + " oifname != " +
		nftcmd.Set(to...) + " drop"
}

// toNetworks accepts what the tunnel may reach.
func (b builder) toNetworks() (rules []string) {
	from := "iifname " + b.tunnel + " "
	if len(b.Networks) > 0 {
		rules = append(rules, from+"ip daddr "+nftcmd.Addresses(b.Networks...)+" accept")
	}
	if b.Public {
		rules = append(rules, from+"ip daddr != "+nftcmd.Addresses(notPublic()...)+" accept")
	}
	return rules
}

// notPublic returns the IPv4 addresses that are not on the internet, or not hosts there (RFC 6890).
func notPublic() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("224.0.0.0/3"),
		netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
		netip.MustParsePrefix("168.63.129.16/32"), // Azure's own, see policy
	}
}

// private returns what is not public, and the Networks.
func (b builder) private() []netip.Prefix { return append(notPublic(), b.Networks...) }
