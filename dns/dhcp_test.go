package dns_test

import (
	"strings"
	"testing"

	"tunnel/dns/dnstest"
)

// TestDHCP has a DHCP client write its name server while the tunnel's is used, for each program by
// which it does so: the tunnel's is used again after the next look, and at the end that of the new
// lease.
func TestDHCP(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		machine func(*testing.T, ...string) *dnstest.Machine
		record  string // resolvconf's, which the lease takes the place of
	}{
		"file":       {dnstest.New, ""},
		"resolvconf": {dnstest.NewResolvconf, "eth0.dhclient"},
		"openresolv": {dnstest.NewOpenresolv, "eth0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := test.machine(t, "udhcpc")
			if test.record != "" {
				m.Run("resolvconf", "-d", test.record)
			}
			m.Run("ip", "-n", "outside", "addr", "add", "dev", "eth0", "192.168.9.8/24")
			m.Serve(dnstest.Router, "192.0.2.1")
			m.Serve("192.168.9.8", "192.0.2.8")
			m.Serve("10.1.1.1", "10.50.1.80")
			resolves := func(name, address string) {
				t.Helper()
				if !m.Resolves(name, address) {
					t.Errorf("%s is not %s by\n%s", name, address, m.Read(dnstest.ResolvConf))
				}
			}
			lease(m, dnstest.Router)
			resolves("a.example", "192.0.2.1")
			h, _ := recorded(t)
			if err := h.Apply(t.Context(), want()); err != nil {
				t.Fatal(err)
			}
			resolves("b.example", "10.50.1.80")
			lease(m, "192.168.9.8")
			if test.record == "" {
				resolves("c.example", "192.0.2.8") // until it is looked at
			}
			if err := h.Apply(t.Context(), want()); err != nil {
				t.Fatal(err)
			}
			resolves("d.example", "10.50.1.80")
			if err := h.Close(); err != nil {
				t.Error(err)
			}
			resolves("e.example", "192.0.2.8")
			if text := m.Read(dnstest.ResolvConf); strings.Contains(text, "10.1.1.1") ||
				strings.Contains(text, "tunnel") {
				t.Errorf("left\n%s", text)
			}
		})
	}
}

// lease has the machine get its address from a DHCP server that names that name server.
func lease(m *dnstest.Machine, server string) {
	const conf, leases = "/run/udhcpd.conf", "/run/udhcpd.leases"
	m.Write(leases, "")
	m.Write(conf, "start 192.168.9.20\nend 192.168.9.29\ninterface eth0\nlease_file "+leases+
		"\npidfile /run/udhcpd.pid\noption subnet 255.255.255.0\noption dns "+server+"\n")
	daemon := m.Start("ip", "netns", "exec", "outside", "busybox", "udhcpd", "-f", conf)
	m.Run("busybox", "udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "20", "-T", "1",
		"-s", "/etc/udhcpc/default.script")
	_ = daemon.Process.Kill()
	_ = daemon.Wait()
}
