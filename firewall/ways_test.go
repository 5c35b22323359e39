package firewall_test

import (
	"slices"
	"testing"
	"time"

	"tunnel/firewall"
	"tunnel/rtnl"
)

// TestAstray takes the LAN's interface down: what is sent to the LAN from the tunnel does not leave
// by the default route, by its own and by a translated address, nor past a kill switch.
func TestAstray(t *testing.T) {
	s := uplinked(t)
	lan := prefixes("192.168.7.0/24")
	s.remote.Run("ip", "route", "add", "10.50.7.0/24", "via", "10.1.1.1")
	outside := startCapture(t, s.outside)
	defer outside.close()
	ways := firewall.Guards{Ways: near(s.lan, "192.168.7.0/24")}
	ways.Ways = append(ways.Ways, near("tun0", "192.168.0.0/16")...) // the narrowest decides
	gone := firewall.Guards{Ways: near("", "192.168.7.0/24")}
	plain := firewall.Rules{Networks: lan}
	maps := firewall.Rules{Maps: []firewall.Map{{Here: lan[0], There: prefix("10.50.7.0/24")}}}
	sealed := plain
	sealed.KillSwitch = killSwitch(nil).KillSwitch
	for name, test := range map[string]struct {
		rules firewall.Rules
		to    string
	}{"plain": {plain, "192.168.7.5"}, "translated": {maps, "10.50.7.5"},
		"kill switch": {sealed, "192.168.7.5"}} {
		set(t, s.gateway, test.rules, ways)
		reaches(t, s.remote, s.host, test.to+":8000", "10.1.1.3")
		strays := func(g firewall.Guards) bool {
			t.Helper()
			set(t, s.gateway, test.rules, g)
			outside.read()
			tries := 10
			if g.Ways == nil { // the neighbor's link address may have to be found first
				tries = 60
			}
			for i := range tries {
				if i > 10 {
					time.Sleep(100 * time.Millisecond)
				}
				s.send(t, s.remote, word{"10.1.1.3:7000", test.to + ":9000"})
				if slices.Contains(outside.read(), "udp 192.168.7.5:9000") {
					return true
				}
			}
			return false
		}
		s.gateway.Run("ip", "link", "set", s.lan, "down")
		if name != "kill switch" && !strays(firewall.Guards{}) {
			t.Errorf("%s: does not leave even without the rule", name)
		}
		for _, g := range []firewall.Guards{ways, gone} {
			if strays(g) {
				t.Errorf("%s: leaves by the default route, ways %v", name, g.Ways)
			}
		}
		if name == "kill switch" && strays(firewall.Guards{Ways: []rtnl.Near{}}) {
			t.Error("a kill switch lets through what no interface is known for")
		}
		s.gateway.Run("ip", "link", "set", s.lan, "up")
	}
}
