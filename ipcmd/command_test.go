package ipcmd_test

import (
	"net/netip"
	"testing"

	"tunnel/ipcmd"
)

func TestCommands(t *testing.T) {
	local, peer := netip.MustParseAddr("10.1.1.1"), netip.MustParseAddr("10.1.1.2")
	network := netip.MustParsePrefix("10.1.1.0/24")
	server, gateway := netip.MustParseAddr("101.43.253.110"), netip.MustParseAddr("192.168.107.2")
	for _, test := range []struct {
		command ipcmd.Command
		mutates bool
		want    string
	}{
		// The first four are the documented ones, byte for byte.
		{ipcmd.LinkUp("tun0", 1400, 100), true, "ip link set dev tun0 up mtu 1400 qlen 100"},
		{ipcmd.AddrAdd("tun0", local, peer), true, "ip addr add dev tun0 local 10.1.1.1 peer 10.1.1.2"},
		{ipcmd.RouteAdd(network, peer, "tun0"), true, "ip route add 10.1.1.0/24 via 10.1.1.2 dev tun0"},
		{
			ipcmd.BypassAdd(server, gateway, "ens160"), true,
			"ip -4 r a 101.43.253.110/32 via 192.168.107.2 dev ens160",
		},
		{ipcmd.AddrDel("tun0", local, peer), true, "ip addr del dev tun0 local 10.1.1.1 peer 10.1.1.2"},
		{ipcmd.RouteDel(network, peer, "tun0"), true, "ip route del 10.1.1.0/24 via 10.1.1.2 dev tun0"},
		{
			ipcmd.BypassDel(server, gateway, "ens160"), true,
			"ip -4 r d 101.43.253.110/32 via 192.168.107.2 dev ens160",
		},
		{
			ipcmd.BypassAdd(server, netip.MustParseAddr("fe80::1"), "ens160"), true,
			"ip -4 r a 101.43.253.110/32 via inet6 fe80::1 dev ens160",
		},
		{ipcmd.TunDel("tun0", false), true, "ip tuntap del dev tun0 mode tun"},
		{ipcmd.TunDel("tun0", true), true, "ip tuntap del dev tun0 mode tun multi_queue"},
		{ipcmd.RouteGet(server), false, "ip -j route get 101.43.253.110"},
		{ipcmd.RouteShowAll(), false, "ip -j -4 route show table all"},
		{ipcmd.RouteShowExact(network), false, "ip -j -4 route show exact 10.1.1.0/24"},
		{ipcmd.RouteShowMatch(server), false, "ip -j -4 route show match 101.43.253.110"},
		{ipcmd.AddrShow(), false, "ip -j -4 addr show"},
		{ipcmd.LinkShow(), false, "ip -j -d link show"},
		{ipcmd.Command{Args: []string{"route", "flush"}}, true, "ip route flush"},
	} {
		if got := test.command.String(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
		if test.command.Mutates() != test.mutates {
			t.Errorf("%s: Mutates() = %v", test.want, test.command.Mutates())
		}
	}
}
