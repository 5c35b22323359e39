package firewall_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/e2e/lab"
	"tunnel/firewall"
	"tunnel/nftcmd"
)

// refusing are the rules of a full tunnel whose routes are not there, as for a socket that is bound
// to an interface.
func refusing(inside string) firewall.Rules {
	return firewall.Rules{Outside: &firewall.Outside{Mark: mark, Tunnel: addresses("10.1.1.3"),
		Answer: true, Refuse: true,
		LAN: append(near("eth0", "192.168.0.0/24"), near(inside, "172.17.0.0/24")...)}}
}

// TestRefuse has nothing leave but what is marked, and what goes to the LAN; connections from
// outside are answered, by IPv6, too, and what a container sends by IPv4 is not this machine's.
func TestRefuse(t *testing.T) {
	m := newLaptop(t)
	set(t, m.client, refusing(m.inside), firewall.Guards{})
	refused(t, m.client, m.outside, outside4)
	refused(t, m.client, m.outside, outside6)
	reaches(t, m.client, m.printer, printer4, "192.168.0.5")
	reaches(t, m.outside, m.client, "192.168.0.5:8000", "203.0.113.9")
	reaches(t, m.outside, m.client, "[2001:db8:1::5]:8000", "2001:db8:9::9")
	reaches(t, m.container, m.printer, printer4, "172.17.0.2")
	seen, err := exchange("tcp", m.client, m.outside, outside4, answerLimit, marked(mark))
	if err != nil || seen.String() != "192.168.0.5" {
		t.Errorf("marked: %v, %v", seen, err)
	}
}

// TestRefuseIPv6 refuses what a container sends by IPv6, and not what it answers.
func TestRefuseIPv6(t *testing.T) {
	m := newLaptop(t)
	sixInside(t, m)
	set(t, m.client, refusing(m.inside), firewall.Guards{})
	cannotReach(t, m.container, m.outside, outside6)
}

// TestLease lets what a killed run refused leave when its time is over, and not if it is renewed.
func TestLease(t *testing.T) {
	m := newLaptop(t)
	table := refusing(m.inside).Table("tun0", tunnelMTU, firewall.Guards{})
	if table.Lease != firewall.Lease {
		t.Errorf("a lease of %v", table.Lease)
	}
	table.Lease = 3 * time.Second
	if err := setTable(m.client, table); err != nil {
		t.Fatal(err)
	}
	try := func() error {
		_, err := exchange("tcp", m.client, m.outside, outside4, answerLimit, nil)
		return err
	}
	if err := try(); err == nil {
		t.Error("it leaves at once")
	}
	waitFor(t, func() bool { return try() == nil })
	table.Lease = time.Hour
	if err := renew(m.client, table); err != nil {
		t.Fatal(err)
	}
	if err := try(); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("renewed: %v", err)
	}
}

func renew(h *lab.Host, table nftcmd.Table) error {
	return h.Do(func() error {
		_, err := machine().Run.Run(context.Background(), nftcmd.Renew(table))
		return err
	})
}
