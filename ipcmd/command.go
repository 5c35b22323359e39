// Package ipcmd builds and runs ip(8) of the iproute2 package: the commands of the tunnel, byte for byte as they are
// documented, their undos, and read-only look-ups with parsers for what `ip -j` prints. Apart from the user's hooks,
// it is the only part of the program that starts another program.
package ipcmd

import (
	"net/netip"
	"strconv"
	"strings"
)

// Command is one invocation of ip. It is a value: builders make it, a Runner runs it.
type Command struct {
	// Args is argv without the program's name: `ip` is the only program that a Runner starts.
	Args []string

	lookup bool
}

// String returns the command as one would type it, words joined by single spaces.
func (c Command) String() string { return strings.Join(append([]string{"ip"}, c.Args...), " ") }

// Mutates reports whether the command changes the kernel's state; only the look-ups of this package do not.
func (c Command) Mutates() bool { return !c.lookup }

// LinkUp sets dev up with an MTU in bytes and a transmit queue length in packets.
func LinkUp(dev string, mtu, qlen int) Command {
	return change("link", "set", "dev", dev, "up", "mtu", strconv.Itoa(mtu), "qlen", strconv.Itoa(qlen))
}

// TunDel takes persistence from the TUN device dev, which deletes it when no process is attached. The kernel refuses
// when a process is attached to a single-queue device; multiQueue must be what the device has.
func TunDel(dev string, multiQueue bool) Command {
	c := change("tuntap", "del", "dev", dev, "mode", "tun")
	if multiQueue {
		c.Args = append(c.Args, "multi_queue")
	}
	return c
}

// AddrAdd gives dev the address local/32 with the protocol address peer at the other end.
func AddrAdd(dev string, local, peer netip.Addr) Command {
	return change("addr", "add", "dev", dev, "local", local.String(), "peer", peer.String())
}

// AddrDel undoes AddrAdd.
func AddrDel(dev string, local, peer netip.Addr) Command {
	return change("addr", "del", "dev", dev, "local", local.String(), "peer", peer.String())
}

// RouteAdd routes prefix through the gateway via on dev.
func RouteAdd(prefix netip.Prefix, via netip.Addr, dev string) Command {
	return change("route", "add", prefix.String(), "via", via.String(), "dev", dev)
}

// RouteDel undoes RouteAdd.
func RouteDel(prefix netip.Prefix, via netip.Addr, dev string) Command {
	return change("route", "del", prefix.String(), "via", via.String(), "dev", dev)
}

// BypassAdd routes the single IPv4 address addr through the gateway via on the physical card dev, past the tunnel.
func BypassAdd(addr, via netip.Addr, dev string) Command { return bypass("a", addr, via, dev) }

// BypassDel undoes BypassAdd.
func BypassDel(addr, via netip.Addr, dev string) Command { return bypass("d", addr, via, dev) }

func bypass(verb string, addr, via netip.Addr, dev string) Command {
	args := []string{"-4", "r", verb, netip.PrefixFrom(addr, addr.BitLen()).String(), "via"}
	if via.Is6() { // RFC 5549: IPv4 whose next hop is an IPv6 neighbour
		args = append(args, "inet6")
	}
	return change(append(args, via.String(), "dev", dev)...)
}

// RouteGet looks up the way that a packet to addr takes now; ParseRouteGet reads the answer.
func RouteGet(addr netip.Addr) Command { return lookup("-j", "route", "get", addr.String()) }

// RouteShowAll lists the IPv4 routes of all tables, the local table included; ParseRoutes reads the answer, as for the two
// that follow.
func RouteShowAll() Command { return lookup("-j", "-4", "route", "show", "table", "all") }

// RouteShowExact lists the main table's IPv4 routes to exactly prefix.
func RouteShowExact(prefix netip.Prefix) Command {
	return lookup("-j", "-4", "route", "show", "exact", prefix.String())
}

// RouteShowMatch lists the main table's IPv4 routes whose prefix contains addr.
func RouteShowMatch(addr netip.Addr) Command {
	return lookup("-j", "-4", "route", "show", "match", addr.String())
}

// AddrShow lists the IPv4 addresses of all interfaces; ParseAddrs reads the answer.
func AddrShow() Command { return lookup("-j", "-4", "addr", "show") }

// LinkShow lists all interfaces with details of their kind; ParseLinks reads the answer.
func LinkShow() Command { return lookup("-j", "-d", "link", "show") }

func change(args ...string) Command { return Command{Args: args} }

func lookup(args ...string) Command { return Command{Args: args, lookup: true} }
