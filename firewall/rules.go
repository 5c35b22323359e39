// Package firewall says what the nftables table of one tunnel device holds: forwarding,
// masquerading, translation of networks, the clamp of TCP's segment size, and the kill switch.
// Rules are a typed value from which the text of the table is built, so that a process which sends
// the value cannot choose the text.
package firewall

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"tunnel/nftcmd"
	"tunnel/rtnl"
)

// Rules are what the table of a device holds. The zero Rules need no table.
type Rules struct {
	// Networks are reached from the tunnel: IPv4, behind other interfaces. Those of Maps are added.
	// If this program has switched forwarding on for the tunnel's device, see Guards, nothing else
	// is reached from the tunnel; if it was on already, the kernel decides.
	Networks []netip.Prefix `json:"networks,omitempty"`
	// Public adds all public addresses to Networks, but for this machine's own. They answer
	// connections from the tunnel, and begin none.
	Public bool `json:"public,omitempty"`
	// Masquerade gives connections that come from the tunnel and leave elsewhere this machine's
	// address: those to one of these prefixes, or with 0.0.0.0/0 all.
	Masquerade []netip.Prefix `json:"masquerade,omitempty"`
	// Maps are networks here that the tunnel knows by other addresses.
	Maps []Map `json:"maps,omitempty"`
	// Clamp limits the segment size that both ends of a forwarded TCP connection through the tunnel
	// announce to what its MTU carries (RFC 4459 section 3.2).
	Clamp bool `json:"clamp,omitempty"`
	// Tracked limits how many connections are tracked for each sender. With nil there is no limit.
	Tracked *Tracked `json:"tracked,omitempty"`
	// Outside keeps connections outside a full tunnel that came in outside it. With nil there are no
	// rules for that.
	Outside *Outside `json:"outside,omitempty"`
	// KillSwitch blocks all traffic outside the tunnel, with exceptions. If nil there is none.
	KillSwitch *KillSwitch `json:"kill_switch,omitempty"`
	// Older are connections of this machine's own that Outside and KillSwitch.Inbound do not answer.
	Older Older `json:"older,omitzero"`
}

// Older are the ports from which this machine had opened connections before it had a table. The
// kernel takes a connection that it has not tracked from its beginning for one of whichever side
// sends first.
type Older struct {
	TCP []uint16 `json:"tcp,omitempty"`
	UDP []uint16 `json:"udp,omitempty"`
}

// rules does the same to all packets of these connections.
func (o Older) rules(match, do string) (rules []string) {
	if len(o.TCP) > 0 {
		rules = append(rules, match+"tcp sport "+portSet(o.TCP)+" "+do)
	}
	if len(o.UDP) > 0 {
		rules = append(rules, match+"udp sport "+portSet(o.UDP)+" "+do)
	}
	return rules
}

func portSet(ports []uint16) string {
	words := make([]string, len(ports))
	for i, port := range ports {
		words[i] = strconv.Itoa(int(port))
	}
	return nftcmd.Set(words...)
}

// Map translates a network one to one: Here is its real prefix, and There a prefix of the same
// length by which it is known in the tunnel.
type Map struct {
	Here  netip.Prefix `json:"here"`
	There netip.Prefix `json:"there"`
}

// KillSwitch says what may leave besides packets into the tunnel: the tunnel's own connection, DHCP
// and neighbor discovery, on every interface; loopback; and what its fields add. The rest is
// refused with ICMP, or for TCP connections with a reset. It judges what this machine sends,
// receives and forwards, of IPv4 and IPv6.
type KillSwitch struct {
	// Mark is that of the tunnel's own connection, and of its look-ups (SO_MARK); not 0.
	Mark uint32 `json:"mark"`
	// LAN are the networks that stay reachable, IPv4 or IPv6, each by its interface: an address of a
	// network whose interface is down is sent by the default route. Interfaces with a name that nft
	// reads as something else are left out, here and of Links. Only the process that sets the table
	// decides both: they are no part of a message, and Equal leaves them out.
	LAN []rtnl.Near `json:"-"`
	// Links are the interfaces that have a network of LAN. By these link-local addresses, and local
	// multicast and broadcasts, are reached, too.
	Links []string `json:"-"`
	// GuardDNS refuses DNS (port 53) and DNS over TLS or QUIC (853) to the LAN, as a full tunnel
	// needs it.
	GuardDNS bool `json:"guard_dns,omitempty"`
	// Inbound lets connections from outside in, and their answers out.
	Inbound bool `json:"inbound,omitempty"`
	// Until is when the kernel ends the kill switch by itself, by the wall clock and to the second;
	// the zero Time is never. Only the process that sets the table decides that: it is no part of a
	// message, and Equal leaves it out.
	Until time.Time `json:"-"`
}

// Limits of a list's length. A Rules with all of them fits into a message to the parent.
const (
	maxNetworks = 1024
	maxMaps     = 64
	// MaxLAN bounds KillSwitch.LAN and Outside.LAN: nft lists each several times, and what it prints
	// is bounded (cmdrun).
	MaxLAN = 1024
)

// minBits is the shortest IPv4 prefix of a network: no network is a default route, nor a part of
// one.
const minBits = 8

// ErrRules means that no table can be made of the Rules.
var ErrRules = errors.New("not rules for a tunnel's firewall")

// Equal reports whether two Rules are the same; an empty list is none.
func (r Rules) Equal(other Rules) bool {
	a, err := json.Marshal(r)
	b, failed := json.Marshal(other)
	return err == nil && failed == nil && bytes.Equal(a, b)
}

// IsZero reports whether r needs no table.
func (r Rules) IsZero() bool { return r.Equal(Rules{}) }

// Check returns an ErrRules unless a table for the device dev, with that MTU in bytes, can be made
// of r.
func (r Rules) Check(dev string, mtu int) error {
	if r.IsZero() {
		return nil
	}
	if err := checkName(dev); err != nil {
		return err
	}
	if r.Clamp && mtu <= ipTCPHeader {
		return fmt.Errorf("%w: no segment fits into an MTU of %d", ErrRules, mtu)
	}
	if err := r.checkNetworks(); err != nil {
		return err
	}
	if err := r.checkMaps(); err != nil {
		return err
	}
	if slices.Contains(r.Older.TCP, 0) || slices.Contains(r.Older.UDP, 0) {
		return fmt.Errorf("%w: port 0", ErrRules)
	}
	if r.Tracked != nil {
		if err := r.Tracked.check(); err != nil {
			return err
		}
	}
	if r.Outside != nil {
		if err := r.Outside.check(); err != nil {
			return err
		}
	}
	if r.KillSwitch != nil {
		return r.KillSwitch.check()
	}
	return nil
}

// checkName returns an ErrRules for a name that nft reads as something else, such as a pattern, or
// that would need quoting in the name of a table.
func checkName(dev string) error {
	if err := rtnl.CheckName(dev); err != nil {
		return fmt.Errorf("%w: %w", ErrRules, err)
	}
	for _, c := range []byte(dev) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && c != '_' && c != '-' && c != '.' {
			return fmt.Errorf("%w: the name %q has more than letters, digits, \"_\", \"-\" and \".\"",
				ErrRules, dev)
		}
	}
	return nil
}

func (r Rules) checkNetworks() error {
	if len(r.Networks) > maxNetworks || len(r.Masquerade) > maxNetworks {
		return fmt.Errorf("%w: more than %d networks", ErrRules, maxNetworks)
	}
	for _, n := range r.Networks {
		if err := checkNetwork(n); err != nil {
			return err
		}
	}
	for _, n := range r.Masquerade {
		if n == everything() {
			continue
		}
		if err := checkNetwork(n); err != nil {
			return err
		}
	}
	return nil
}

func everything() netip.Prefix { return netip.PrefixFrom(netip.IPv4Unspecified(), 0) }

// checkNetwork returns an ErrRules unless n is a unicast IPv4 network without host bits.
func checkNetwork(n netip.Prefix) error {
	if !n.IsValid() || !n.Addr().Is4() || n != n.Masked() || n.Bits() < minBits ||
		!isUnicast(n.Addr()) {
		return fmt.Errorf("%w: %s is not an IPv4 network of /%d or smaller", ErrRules, n, minBits)
	}
	return nil
}

// isUnicast reports whether a host on some network may have the IPv4 address.
func isUnicast(a netip.Addr) bool {
	first := a.As4()[0]
	return first != 0 && first != 127 && first < 224
}

// checkMaps returns an ErrRules if networks have different sizes or overlap: in both directions, an
// address must have one translation.
func (r Rules) checkMaps() error {
	if len(r.Maps) > maxMaps {
		return fmt.Errorf("%w: more than %d translated networks", ErrRules, maxMaps)
	}
	for i, m := range r.Maps {
		if err := errors.Join(checkNetwork(m.Here), checkNetwork(m.There)); err != nil {
			return err
		}
		if m.Here.Bits() != m.There.Bits() {
			return fmt.Errorf("%w: %s and %s have different sizes", ErrRules, m.Here, m.There)
		}
		for j, other := range r.Maps {
			if m.Here.Overlaps(other.There) {
				return fmt.Errorf("%w: %s overlaps %s", ErrRules, m.Here, other.There)
			}
			if j < i && (m.Here.Overlaps(other.Here) || m.There.Overlaps(other.There)) {
				return fmt.Errorf("%w: %s=%s overlaps %s=%s", ErrRules, m.Here, m.There, other.Here,
					other.There)
			}
		}
	}
	return nil
}

func (k *KillSwitch) check() error {
	if k.Mark == 0 {
		return fmt.Errorf("%w: a kill switch needs the mark of the tunnel's connection", ErrRules)
	}
	return checkLAN(k.LAN)
}

func checkLAN(all []rtnl.Near) error {
	if len(all) > MaxLAN {
		return fmt.Errorf("%w: more than %d networks of the LAN", ErrRules, MaxLAN)
	}
	bad := slices.IndexFunc(all, func(near rtnl.Near) bool {
		n := near.Network
		if !n.IsValid() || n != n.Masked() || n.Addr().IsMulticast() || n.Addr().IsLoopback() {
			return true
		}
		if n.Addr().Is4() {
			return checkNetwork(n) != nil
		}
		return n.Addr().Is4In6() || n.Addr().Zone() != "" || n.Bits() < minBits6
	})
	if bad >= 0 {
		return fmt.Errorf("%w: %s is not the network of a LAN", ErrRules, all[bad].Network)
	}
	return nil
}

// minBits6 is the shortest IPv6 prefix of a LAN: what a provider gets at least (RFC 6177 is about
// /48 to /64 for sites).
const minBits6 = 32
