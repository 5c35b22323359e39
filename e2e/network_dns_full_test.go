package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tunnel/dns/dnstest"
)

// publicServer is a DNS server on the internet, which the hub's machine has, and publicName what it
// answers.
const (
	publicServer = "203.0.113.53"
	publicName   = "198.51.100.80"
)

// internet gives the machine a default route, and a DNS server beyond it, to which the hub lets
// clients on.
func (n *named) internet() {
	n.t.Helper()
	n.Run("ip", "route", "add", "default", "via", dnstest.Router)
	n.Run("ip", "-n", "outside", "addr", "add", publicServer+"/32", "dev", "eth0")
	n.Serve(publicServer, publicName)
	n.flags = []string{"--push-route", publicServer + "/32"}
}

// TestFullTunnelNames resolves names in a full tunnel by a public DNS server, which is asked
// through the tunnel: one that DHCP has given to systemd-resolved for another link, which it asks
// by that, or one that the hub pushes.
func TestFullTunnelNames(t *testing.T) {
	t.Run("of the link", func(t *testing.T) {
		m, resolved := dnstest.NewResolved(t)
		n := prepareNamed(t, m)
		n.internet()
		m.Write("/etc/systemd/resolved.conf",
			"[Resolve]\nFallbackDNS=\nLLMNR=no\nMulticastDNS=no\nDNSSEC=no\n")
		_ = resolved.Process.Kill()
		_ = resolved.Wait()
		m.Start("/usr/lib/systemd/systemd-resolved")
		m.WaitFor("systemd-resolved", func() bool {
			_, err := m.Try("resolvectl", "dns", "eth0", publicServer)
			return err == nil
		})
		n.before = n.state()
		n.resolves("example", publicName)
		n.serve()
		cl := n.connect("--full-tunnel")
		file := filepath.Join(n.dir, "tcpdump.log")
		n.Write(file, "")
		m.Start("sh", "-c", `exec tcpdump -i eth0 -Q out -n -l --immediate-mode port 53 >"$0" 2>&1`,
			file)
		n.says("tcpdump.log", "listening on")
		n.resolves("example", publicName)
		if seen := n.Read(file); strings.Contains(seen, " > ") {
			t.Errorf("asked outside the tunnel:\n%s", seen)
		}
		n.end(cl, os.Interrupt)
		n.restored("after a stop")
		n.resolves("example", publicName)
		n.WaitFor("a question outside", func() bool { return strings.Contains(n.Read(file), " > ") })
	})
	t.Run("of the hub", func(t *testing.T) {
		n := prepareNamed(t, dnstest.New(t))
		n.internet()
		n.before, n.dns = n.state(), publicServer
		n.serve()
		n.resolves("example", outsideName)
		cl := n.connect("--full-tunnel")
		n.resolves("example", publicName)
		n.end(cl, os.Interrupt)
		n.restored("after a stop")
		n.resolves("example", outsideName)
	})
}
