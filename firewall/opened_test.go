package firewall_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tunnel/firewall"
)

// TestTrackedRate has a client, and a network behind one, begin more connections at once than the
// kernel may be asked to count, far below the limit of connections: the rest is not tracked.
func TestTrackedRate(t *testing.T) {
	s := newSite(t)
	for _, dev := range []string{"tun0", s.wan} {
		s.gateway.Sysctl("net.ipv4.conf."+dev+".forwarding", "1")
	}
	s.remote.Run("ip", "route", "add", "local", "10.60.0.0/16", "dev", "lo")
	s.gateway.Run("ip", "route", "add", "10.60.0.0/16", "via", "10.1.1.3")
	s.outside.Run("nft", "add table ip quiet; add chain ip quiet in { type filter hook prerouting "+
		"priority -300; }; add rule ip quiet in udp dport 9 drop")
	const burst, connections = 4096, 10_000
	set(t, s.gateway, firewall.Rules{Networks: prefixes("203.0.113.0/24"),
		Tracked: &firewall.Tracked{Network: prefix("10.1.1.0/24"), Limit: 2 * connections,
			Behind: prefixes("10.60.0.0/16")}}, firewall.Guards{})
	// A slow flood takes longer than the kernel remembers a datagram that is not answered.
	s.gateway.Sysctl("net.netfilter.nf_conntrack_udp_timeout", "600")
	for _, from := range [][]netip.Addr{addresses("10.1.1.3"), addresses("10.60.0.1", "10.60.9.1")} {
		before, began := trackedBy(t, s.gateway), time.Now()
		flood(t, s.remote, from, "203.0.113.9:9", connections)
		n := trackedBy(t, s.gateway) - before
		most := burst + firewall.MaxOpened*(int(time.Since(began).Seconds())+1)
		if least := burst / 2; n < least || n > most {
			t.Errorf("%d connections from %s are tracked, want %d to %d", n, from[0], least, most)
		}
	}
}

// TestTrackedOfMany has more clients counted than fit into what a command may print: the table is
// still compared and found.
func TestTrackedOfMany(t *testing.T) {
	s := newSite(t)
	table := firewall.Rules{Masquerade: prefixes("0.0.0.0/0"), Public: true,
		Tracked: &firewall.Tracked{Network: prefix("10.0.0.0/8")}}.Table("tun0", tunnelMTU,
		firewall.Guards{})
	if err := setTable(s.gateway, table); err != nil {
		t.Fatal(err)
	}
	const clients = 20_000
	elements := make([]string, clients)
	for i, a := 0, netip.MustParseAddr("10.1.0.1"); i < clients; i, a = i+1, a.Next() {
		elements[i] = fmt.Sprint(a, " ct count over ", firewall.MaxTracked)
	}
	file := filepath.Join(t.TempDir(), "elements")
	if err := os.WriteFile(file, []byte("add element inet tunnel_tun0 tracked { "+
		strings.Join(elements, ", ")+" }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.gateway.Run("nft", "-f", file)
	err := s.gateway.Do(func() error {
		differs, err := firewall.Compare(context.Background(), machine(), table)
		if differs != "" {
			err = errors.Join(err, errors.New(differs))
		}
		found, failed := firewall.Table{Dev: "tun0"}.Find(machine())
		if !found {
			err = errors.Join(err, fs.ErrNotExist)
		}
		return errors.Join(err, failed)
	})
	if err != nil {
		t.Error(err)
	}
}
