package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"tunnel/nftcmd"
	"tunnel/rtnl"
)

// Outside keeps what came in outside a full tunnel outside it, and nothing else: packets with Mark
// are routed as if there were no tunnel.
type Outside struct {
	// Mark is that of the tunnel's own connection; not 0.
	Mark uint32 `json:"mark"`
	// Tunnel are this machine's IPv4 addresses inside the tunnel, at least one: connections to these
	// are answered there.
	Tunnel []netip.Addr `json:"tunnel"`
	// Answer has connections from outside answered there. Without it only the kernel's check of
	// source addresses (rp_filter) is told where packets belong.
	Answer bool `json:"answer,omitempty"`
	// Uplinks are the interfaces that lead anywhere: by others no connection comes in from a host that
	// they do not lead to, which its answer would be sent to outside the tunnel. Only the process that
	// sets the table decides them: they are no part of a message.
	Uplinks []string `json:"-"`
	// Ports are those on which this machine accepted TCP connections before it had this table. The
	// kernel takes a connection that it has not tracked from its beginning for one of whichever side
	// sends first.
	Ports []uint16 `json:"ports,omitempty"`
	// Refuse refuses all else that this machine sends outside the tunnel, and what it forwards of
	// IPv6, for Lease after the table was set or renewed. A kill switch does so by itself.
	Refuse bool `json:"refuse,omitempty"`
	// LAN are the networks to which it does not, and Links their interfaces, as KillSwitch has them.
	LAN   []rtnl.Near `json:"-"`
	Links []string    `json:"-"`
}

// Lease is how long Outside.Refuse lasts after the program that has set it was killed. It is long
// for a program that renews it several times a minute, so that it bears a machine that is short of
// everything, and short for a person who has lost the machine's other connections.
const Lease = 2 * time.Minute

// Limits of an Outside.
const (
	maxTunnel = 16
	// MaxPorts bounds Outside.Ports.
	MaxPorts = 1024
)

func (o *Outside) check() error {
	switch {
	case o.Mark == 0:
		return fmt.Errorf("%w: a full tunnel needs the mark of the tunnel's connection", ErrRules)
	case len(o.Tunnel) == 0 || len(o.Tunnel) > maxTunnel || slices.ContainsFunc(o.Tunnel,
		func(a netip.Addr) bool { return !a.Is4() || !isUnicast(a) }):
		return fmt.Errorf("%w: %v are no addresses inside a tunnel", ErrRules, o.Tunnel)
	case len(o.Ports) > MaxPorts || slices.Contains(o.Ports, 0):
		return fmt.Errorf("%w: more than %d ports, or port 0", ErrRules, MaxPorts)
	}
	return checkLAN(o.LAN)
}

func (o *Outside) setMark() string {
	return "meta mark set " + strconv.FormatUint(uint64(o.Mark), 10)
}

// arrival marks packets to this machine that come in outside the tunnel, so that the check of their
// source address looks at the path by which they would be answered, and answers of connections that
// are forwarded to another network namespace or host (DNAT, as Docker publishes ports).
func (b builder) arrival() []string {
	o := b.Outside
	if o == nil {
		return nil
	}
	elsewhere := "iifname != " + nftcmd.Set(`"lo"`, b.tunnel) + " "
	// What was in a packet to this machine, such as one of an overlay network, has its mark.
	rules := []string{elsewhere + "meta mark " + strconv.FormatUint(uint64(o.Mark), 10) +
		" meta mark set 0"}
	if len(o.Tunnel) > 0 {
		// Else a neighbor could send into connections inside the tunnel, past rp_filter, too
		// (CVE-2019-14899).
		rules = append(rules, elsewhere+"ip daddr "+o.tunnel()+" fib saddr type != local drop")
	}
	rules = append(rules, elsewhere+"fib daddr type local "+o.setMark())
	if o.Answer {
		rules = append(rules, o.posing(b.tunnel)...)
		const translated = answers + "ct status dnat "
		rules = append(rules,
			elsewhere+o.apart("ct original ip daddr")+translated+o.setMark(),
			elsewhere+ipv6+" "+translated+o.setMark())
	}
	return rules
}

// posing drops what begins a connection by an interface that is no uplink and does not lead to its
// source. A container could pose as a host of the internet, to a port of its own that is published,
// and then send there outside the tunnel what counts as answers. It comes after packets to this
// machine are marked. Of IPv6 what is forwarded is answered, too.
func (o *Outside) posing(tunnel string) []string {
	if slices.ContainsFunc(o.Uplinks, func(dev string) bool { return checkName(dev) != nil }) {
		return nil // nft cannot tell it from others
	}
	by := []string{`"lo"`, tunnel}
	for _, dev := range o.Uplinks {
		by = append(by, nftcmd.Names(dev))
	}
	begins := "iifname != " + nftcmd.Set(by...) + " ct state new "
	const drop = "fib saddr . mark . iif oif missing drop"
	return []string{begins + ipv4 + " fib daddr type local " + drop, begins + ipv6 + " " + drop}
}

// apart returns the condition that an address is none of this machine's inside the tunnel.
func (o *Outside) apart(address string) string {
	if len(o.Tunnel) == 0 {
		return ipv4 + " "
	}
	return address + " != " + o.tunnel() + " "
}

// tunnel returns the set of this machine's addresses inside the tunnel.
func (o *Outside) tunnel() string {
	own := make([]netip.Prefix, len(o.Tunnel))
	for i, a := range o.Tunnel {
		own[i] = netip.PrefixFrom(a, a.BitLen())
	}
	return nftcmd.Addresses(own...)
}

// answer marks what this machine sends in connections that came in outside the tunnel. Those that
// came in by it are to its addresses there.
func (b builder) answer() []string {
	o := b.Outside
	if o == nil || !o.Answer {
		return nil
	}
	physical := `oifname != "lo" ` + o.apart("ip saddr")
	rules := append(b.Older.rules(`oifname != "lo" `, "accept"),
		physical+answers+o.setMark(),
		`oifname != "lo" `+ipv6+" "+answers+o.setMark())
	if len(o.Ports) > 0 {
		// Every segment but that which opens a connection has the flag.
		listening := "tcp sport " + portSet(o.Ports) + " tcp flags ack " + o.setMark()
		rules = append(rules, physical+listening, `oifname != "lo" `+ipv6+" "+listening)
	}
	return rules
}

// refusing reports whether the table refuses what leaves outside a full tunnel by rules of Outside.
func (b builder) refusing() bool {
	return b.Outside != nil && b.Outside.Refuse && b.KillSwitch == nil
}

// refuseOwn refuses what this machine itself sends elsewhere, also by sockets that are bound to an
// interface, which the routes of a full tunnel do not hold.
func (b builder) refuseOwn() []string {
	k := KillSwitch{Mark: b.Outside.Mark, LAN: b.Outside.LAN, Links: b.Outside.Links}
	return slices.Concat(k.always(b.tunnel), k.lan("daddr"), refuseAll(nftcmd.Leased+" "))
}

// answers matches packets of connections that came in. Of other protocols the kernel knows no
// connections: whatever goes to where one packet came from counts as an answer, for ten minutes
// (net/netfilter/nf_conntrack_proto_generic.c). These are ICMP, SCTP, UDP, ICMPv6 and TCP.
const answers = "meta l4proto { 1, 132, 17, 58, 6 } ct direction reply "

// refuseIPv6 refuses what others send through this machine, for which there is no tunnel. What they
// answer leaves.
func (b builder) refuseIPv6() []string {
	to := ipv6
	if len(b.Outside.LAN) > 0 {
		// Bridges may pass to nftables what stays on the link (br_netfilter).
		to = "ip6 daddr != " + nftcmd.Set(linkLocal, toLink)
	}
	_, six := near("daddr", b.Outside.LAN)
	leaves := "oifname != " + nftcmd.Set(`"lo"`, b.tunnel) + " "
	return append(six,
		leaves+ipv6+" "+answers+"accept",
		// A router would have counted it down: these stay on a bridge.
		ndHopLimit+"icmpv6 type "+nftcmd.Set("nd-router-solicit", "nd-router-advert",
			"nd-neighbor-solicit", "nd-neighbor-advert")+" accept",
		nftcmd.Leased+" "+leaves+"meta mark != "+strconv.FormatUint(uint64(b.Outside.Mark), 10)+" "+
			to+" "+refuse)
}
