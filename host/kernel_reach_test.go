package host_test

import (
	"errors"
	"os"
	"testing"

	"tunnel/ipcmd/iptest"
	"tunnel/route"
)

// A route in another table overlaps where a rule may lead packets of the network there, and only
// there.
func TestKernelOverlapInReachedTables(t *testing.T) {
	for name, test := range map[string]struct {
		rule    string
		forward bool
		want    bool
	}{
		"no rule":                      {"", false, false},
		"no rule, forwards":            {"", true, false},
		"a rule to another table":      {"from all lookup 98", false, false},
		"from all":                     {"from all lookup 99", false, true},
		"from an own address":          {"from 192.168.107.0/24 lookup 99", false, true},
		"from the tunnel":              {"from 10.0.0.0/8 lookup 99", false, true},
		"from others":                  {"from 172.20.0.0/16 lookup 99", false, false},
		"from others, forwarded":       {"from 172.20.0.0/16 lookup 99", true, true},
		"not from an own address":      {"not from 192.168.107.0/24 lookup 99", false, true},
		"to the network":               {"to 10.1.0.0/16 lookup 99", false, true},
		"to a part of it":              {"to 10.1.1.7 lookup 99", false, true},
		"to others":                    {"to 172.20.0.0/16 lookup 99", false, false},
		"not to others":                {"not to 172.20.0.0/16 lookup 99", false, true},
		"by a mark":                    {"fwmark 7 lookup 99", false, true},
		"by an interface":              {"iif ens160 lookup 99", false, true},
		"to the table of VRFs":         {"l3mdev", false, true},
		"to the table, but after main": {"pref 40000 from all lookup 99", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			behindGateway(t)
			value := map[bool]string{true: "1", false: "0"}[test.forward]
			if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte(value),
				0o600); err != nil {
				t.Skip(err)
			}
			iptest.IP(t, "route add 10.1.1.0/24 via 192.168.107.3 table 99")
			if test.rule != "" {
				if name == "to the table of VRFs" {
					test.rule = "pref 1000 " + test.rule
				}
				iptest.IP(t, "rule add "+test.rule)
			}
			r, _ := newRouter(t, t.TempDir())
			err := r.Overlap(t.Context(), prefix("10.1.1.0/24"))
			const want = "10.1.1.0/24 overlaps the route 10.1.1.0/24 via 192.168.107.3 dev ens160 table 99"
			if errors.Is(err, route.ErrOverlap) != test.want || test.want && err.Error() != want {
				t.Errorf("got %v, want it: %v", err, test.want)
			}
		})
	}
}
