package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"tunnel/e2e/hostile"
	"tunnel/e2e/lab"
)

// startAttack starts an attacker on a host and waits until the attack has begun.
func startAttack(t *testing.T, h *lab.Host, kind, target string, rate int,
	from ...string) *lab.Proc {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := watch(t, h.Start("nice", "-n", "19", exe, hostile.Command, "-kind", kind, "-target", target,
		"-rate", fmt.Sprint(rate), "-from", strings.Join(from, ",")))
	p.WaitFor("opened ", soon)
	return p
}

// startSink starts a program on a host that resets each connection to a port.
func startSink(t *testing.T, h *lab.Host, port string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := watch(t, h.Start(exe, hostile.Command, "-kind", hostile.Drop, "-target", "[::]:"+port))
	p.WaitFor(hostile.Listening, soon)
}

// addSite gives an attacker's host n addresses, each in a /64 of its own of one /48, and the server
// a route to them. It returns the addresses, and the server's on that path.
func addSite(t *testing.T, server, attacker *lab.Host, n int) (from []string, own string) {
	t.Helper()
	own = "2001:db8:ffff::1"
	server.Run("ip", "-6", "addr", "add", own+"/64", "dev", "eth0", "nodad")
	server.Run("ip", "-6", "route", "add", "2001:db8:a::/48", "dev", "eth0")
	attacker.Run("ip", "-6", "route", "add", own+"/128", "dev", "eth0")
	for i := range n {
		addr := fmt.Sprintf("2001:db8:a:%x::1", i+1)
		attacker.Run("ip", "-6", "addr", "add", addr+"/64", "dev", "eth0", "nodad")
		from = append(from, addr)
	}
	return from, own
}
