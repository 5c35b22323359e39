package firewall_test

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tunnel/e2e/lab"
	"tunnel/firewall"
)

func sealedOn(t *testing.T, h *lab.Host) []string {
	t.Helper()
	var devs []string
	err := h.Do(func() (err error) {
		devs, _, err = firewall.Sealed(context.Background(), machine())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return devs
}

// TestKillSwitchOnTrial has the kernel end a kill switch by itself, and keeps one that is set again
// without an end before.
func TestKillSwitchOnTrial(t *testing.T) {
	m := newLaptop(t)
	ends := func(at time.Time) {
		set(t, m.client, killSwitch(func(k *firewall.KillSwitch) { k.Until = at }),
			firewall.Guards{})
	}
	if devs := sealedOn(t, m.client); len(devs) > 0 {
		t.Errorf("%q are on before", devs)
	}
	ends(time.Now().Add(time.Hour))
	refused(t, m.client, m.outside, outside4)
	cannotReach(t, m.outside, m.client, "192.168.0.5:8000")
	if devs := sealedOn(t, m.client); len(devs) > 0 {
		t.Errorf("%q are on for good", devs)
	}
	ends(time.Now().Add(-time.Second)) // nobody has to do anything at that time
	reaches(t, m.client, m.outside, outside4, "192.168.0.5")
	reaches(t, m.client, m.outside, outside6, "2001:db8:1::5")
	reaches(t, m.outside, m.client, "192.168.0.5:8000", "203.0.113.9")
	reaches(t, m.container, m.printer, printer4, "172.17.0.2")
	ends(time.Time{})
	refused(t, m.client, m.outside, outside4)
	if devs := sealedOn(t, m.client); !slices.Equal(devs, []string{"tun0"}) {
		t.Errorf("%q are on, want tun0", devs)
	}
}

// TestKillSwitchRelay has DHCP reach no public address beyond the link, and one on it.
func TestKillSwitchRelay(t *testing.T) {
	m := newLaptop(t)
	m.router.Run("ip", "addr", "add", "198.51.100.1/24", "dev", "eth0")
	m.client.Run("ip", "route", "add", "198.51.100.0/24", "dev", "eth0")
	on, beyond := netip.MustParseAddrPort("198.51.100.1:67"),
		netip.MustParseAddrPort("203.0.113.9:67")
	seen, seenBeyond := startCapture(t, m.router), startCapture(t, m.outside)
	defer seen.close()
	defer seenBeyond.close()
	send := func(to netip.AddrPort) {
		t.Helper()
		if err := m.client.Do(func() error {
			return sendUDP(netip.MustParseAddrPort("192.168.0.5:68"), to)
		}); err != nil { // which NetworkManager would take for a failure of the network
			t.Errorf("to %s: %v", to, err)
		}
	}
	send(beyond)
	if !slices.Contains(seenBeyond.read(), "udp "+beyond.String()) {
		t.Fatal("there is no path without a kill switch")
	}
	set(t, m.client, killSwitch(nil), firewall.Guards{})
	send(beyond)
	send(on)
	if lines := seen.read(); !slices.Contains(lines, "udp "+on.String()) {
		t.Errorf("the router has seen %q", lines)
	}
	if lines := seenBeyond.read(); len(lines) > 0 {
		t.Errorf("outside is seen %q", lines)
	}
}
