package ipcmd_test

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/cmdrun"
	"tunnel/ipcmd"
)

func TestCommands(t *testing.T) {
	local, peer := netip.MustParseAddr("10.1.1.1"), netip.MustParseAddr("10.1.1.2")
	network := netip.MustParsePrefix("10.1.1.0/24")
	server, gateway := netip.MustParseAddr("101.43.253.110"), netip.MustParseAddr("192.168.107.2")
	for _, test := range []struct {
		command cmdrun.Command
		want    string
	}{
		// The first four are the documented ones, byte for byte.
		{ipcmd.LinkUp("tun0", 1400, 100), "ip link set dev tun0 up mtu 1400 qlen 100"},
		{ipcmd.AddrAdd("tun0", local, peer), "ip addr add dev tun0 local 10.1.1.1 peer 10.1.1.2"},
		{ipcmd.RouteAdd(network, peer, "tun0"), "ip route add 10.1.1.0/24 via 10.1.1.2 dev tun0"},
		{
			ipcmd.BypassAdd(server, gateway, "ens160", ipcmd.Path{}),
			"ip -4 r a 101.43.253.110/32 via 192.168.107.2 dev ens160",
		},
		{ipcmd.AddrDel("tun0", local, peer), "ip addr del dev tun0 local 10.1.1.1 peer 10.1.1.2"},
		{ipcmd.RouteDel(network, peer, "tun0"), "ip route del 10.1.1.0/24 via 10.1.1.2 dev tun0"},
		{
			ipcmd.BypassDel(server, gateway, "ens160", ipcmd.Path{}),
			"ip -4 r d 101.43.253.110/32 via 192.168.107.2 dev ens160",
		},
		{
			ipcmd.BypassAdd(server, netip.MustParseAddr("fe80::1"), "ens160", ipcmd.Path{}),
			"ip -4 r a 101.43.253.110/32 via inet6 fe80::1 dev ens160",
		},
		{ipcmd.TunDel("tun0"), "ip tuntap del dev tun0 mode tun"},
		{
			ipcmd.BypassAdd(server, gateway, "ens160", ipcmd.Path{Onlink: true, Src: local}),
			"ip -4 r a 101.43.253.110/32 via 192.168.107.2 dev ens160 onlink src 10.1.1.1",
		},
		{
			ipcmd.BypassDel(server, gateway, "ens160", ipcmd.Path{
				Metrics: [unix.RTAX_MAX + 1]uint32{unix.RTAX_MTU: 1300,
					unix.RTAX_LOCK: 1 << unix.RTAX_MTU, unix.RTAX_INITCWND: 30, unix.RTAX_RTT: 80},
				Congestion: "bbr",
			}),
			"ip -4 r d 101.43.253.110/32 via 192.168.107.2 dev ens160 " +
				"mtu lock 1300 rtt 10ms initcwnd 30 congctl bbr",
		},
	} {
		if got := test.command.String(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}
