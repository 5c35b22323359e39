package host_test

import (
	"testing"

	"tunnel/cmdrun"
	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/rtnl"
)

// A host route by the gateway that the journal notes is not this program's if it says more than
// that, or says it otherwise: healing leaves it, and does not fail for it.
func TestKernelHealLeavesWhatSaysMore(t *testing.T) {
	const target = "101.43.253.110/32 "
	for name, setup := range map[string][]string{
		"realms":          {"route add " + target + "via 192.168.107.2 dev ens160 realms 3/7"},
		"type of service": {"route add " + target + "via 192.168.107.2 dev ens160 tos 0x10"},
		"a nexthop object": {"nexthop add id 5 via 192.168.107.2 dev ens160",
			"route add " + target + "nhid 5"},
		"a metric":   {"route add " + target + "via 192.168.107.2 dev ens160 metric 50"},
		"a protocol": {"route add " + target + "via 192.168.107.2 dev ens160 proto bird"},
		"a window":   {"route add " + target + "via 192.168.107.2 dev ens160 initcwnd 40"},
		"several hops": {"route add " + target +
			"nexthop via 192.168.107.2 nexthop via 192.168.107.3"},
	} {
		t.Run(name, func(t *testing.T) {
			iptest.Namespace(t)
			iptest.Link(t, "ens160", "192.168.107.10/24")
			for _, command := range setup {
				iptest.IP(t, command)
			}
			before := iptest.IP(t, "route show")
			dir := t.TempDir()
			leave(t, dir,
				`{"kind":"bypass","dev":"ens160","prefix":"101.43.253.110/32","via":"192.168.107.2"}`+"\n")
			report, err := journal.Cleanup(t.Context(),
				journal.Machine{Run: cmdrun.NewExec(nil), Look: rtnl.Kernel{}}, host.Kinds(), nil,
				dir)
			if err != nil || len(report.Removed) > 0 {
				t.Errorf("got %v, %v", report, err)
			}
			if after := iptest.IP(t, "route show"); after != before {
				t.Errorf("left\n%s\nwas\n%s", after, before)
			}
			empty(t, dir)
		})
	}
}
