// Package ipcmd builds the ip(8) commands of the tunnel, byte for byte as they are documented, and
// the commands that undo them. Package rtnl reads the kernel's state.
package ipcmd

import (
	"net/netip"
	"strconv"

	"tunnel/cmdrun"
)

const program = "ip"

// LinkUp sets dev up with an MTU in bytes and a transmit queue length in packets.
func LinkUp(dev string, mtu, qlen int) cmdrun.Command {
	return command("link", "set", "dev", dev, "up", "mtu", strconv.Itoa(mtu), "qlen",
		strconv.Itoa(qlen))
}

// TunDel makes the TUN device dev not persistent, which deletes it if no process is attached. The
// kernel refuses if a process is attached or the device has several queues.
func TunDel(dev string) cmdrun.Command {
	return command("tuntap", "del", "dev", dev, "mode",
		"tun")
}

// AddrAdd gives dev the address local/32 with the protocol address peer at the other end.
func AddrAdd(dev string, local, peer netip.Addr) cmdrun.Command {
	return command("addr", "add", "dev", dev, "local", local.String(), "peer", peer.String())
}

// AddrDel undoes AddrAdd.
func AddrDel(dev string, local, peer netip.Addr) cmdrun.Command {
	return command("addr", "del", "dev", dev, "local", local.String(), "peer", peer.String())
}

// RouteAdd routes prefix through the gateway via on dev.
func RouteAdd(prefix netip.Prefix, via netip.Addr, dev string) cmdrun.Command {
	return command("route", "add", prefix.String(), "via", via.String(), "dev", dev)
}

// RouteDel undoes RouteAdd.
func RouteDel(prefix netip.Prefix, via netip.Addr, dev string) cmdrun.Command {
	return command("route", "del", prefix.String(), "via", via.String(), "dev", dev)
}

// ForeignAddrDel removes an address from dev that AddrAdd did not add; peer may be the zero Addr.
func ForeignAddrDel(dev string, local, peer netip.Addr, bits int) cmdrun.Command {
	if !peer.IsValid() {
		return command("addr", "del", "dev", dev, "local", netip.PrefixFrom(local, bits).String())
	}
	return command("addr", "del", "dev", dev, "local", local.String(), "peer",
		netip.PrefixFrom(peer, bits).String())
}

// ForeignRouteDel removes a route to prefix on dev that RouteAdd did not add, whatever its other
// attributes.
func ForeignRouteDel(prefix netip.Prefix, dev string) cmdrun.Command {
	return command("route", "del", prefix.String(), "dev", dev)
}

// BypassAdd routes the single IPv4 address addr through the gateway via on the physical interface
// dev, outside the tunnel. The words of path follow; the zero Path adds none.
func BypassAdd(addr, via netip.Addr, dev string, path Path) cmdrun.Command {
	return bypass("a", addr, via, dev, path)
}

// BypassDel undoes BypassAdd.
func BypassDel(addr, via netip.Addr, dev string, path Path) cmdrun.Command {
	return bypass("d", addr, via, dev, path)
}

func bypass(verb string, addr, via netip.Addr, dev string, path Path) cmdrun.Command {
	args := []string{"-4", "r", verb, netip.PrefixFrom(addr, addr.BitLen()).String(), "via"}
	if via.Is6() { // RFC 5549: IPv4 whose next hop is an IPv6 neighbour
		args = append(args, "inet6")
	}
	return command(append(append(args, via.String(), "dev", dev), path.words()...)...)
}

func command(args ...string) cmdrun.Command { return cmdrun.Command{Program: program, Args: args} }
