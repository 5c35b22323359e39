package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tunnel/dns/dnstest"
)

// The answers of the router's name server, and of the hub's.
const (
	outsideName = "192.0.2.80"
	hubsName    = "10.50.1.80"
)

// A named is a machine that resolves names in one way, with a hub in the namespace "outside".
type named struct {
	*dnstest.Machine

	t       *testing.T
	bin     program
	dir     string
	flags   []string  // of the hub, beside its DNS server
	dns     string    // that server; "" for none
	hub     *exec.Cmd // its process
	inside  *dnstest.Server
	outside *dnstest.Server
	before  string
}

// newNamed has the hub run, with these flags beside its DNS server.
func newNamed(t *testing.T, m *dnstest.Machine, flags ...string) *named {
	t.Helper()
	n := prepareNamed(t, m)
	n.dns, n.flags = "10.1.1.1", flags
	n.serve()
	n.inside = m.Serve("10.1.1.1", hubsName)
	return n
}

// prepareNamed is newNamed before the hub runs.
func prepareNamed(t *testing.T, m *dnstest.Machine) *named {
	t.Helper()
	n := &named{Machine: m, t: t, bin: plainBuild(t), dir: t.TempDir()}
	m.Run("ip", "link", "del", "tun0")
	m.Run("ip", "-n", "outside", "link", "del", "tun0")
	n.outside = m.Serve(dnstest.Router, outsideName)
	n.before = n.state()
	return n
}

// serve starts the hub.
func (n *named) serve() {
	n.t.Helper()
	args := append([]string{"serve", "--plain", "--token", token, "--state",
		filepath.Join(n.dir, "hub")}, n.flags...)
	if n.dns != "" {
		args = append(args, "--dns", n.dns)
	}
	n.hub = n.begin([]string{"ip", "netns", "exec", "outside"}, "serve.log", args...)
	n.says("serve.log", "listening on ")
}

// begin starts the program with its output in a file.
func (n *named) begin(wrap []string, log string, args ...string) *exec.Cmd {
	n.t.Helper()
	file := filepath.Join(n.dir, log)
	n.Write(file, "")
	n.t.Cleanup(func() {
		if n.t.Failed() {
			n.t.Logf("%s:\n%s", log, n.Read(file))
		}
	})
	return n.Start(append(append([]string{"sh", "-c", `exec "$@" >"$0" 2>&1`, file}, wrap...),
		append([]string{string(n.bin)}, args...)...)...)
}

// says waits until a file of begin has a text.
func (n *named) says(log, text string) {
	n.t.Helper()
	n.WaitFor(text+" in "+log, func() bool {
		return strings.Contains(n.Read(filepath.Join(n.dir, log)), text)
	})
}

// connect starts the client.
func (n *named) connect(flags ...string) *exec.Cmd {
	n.t.Helper()
	cmd := n.begin(nil, "connect.log", append([]string{"connect", "--token", token, "--state",
		filepath.Join(n.dir, "client"), "ws://" + dnstest.Router + ":8443"}, flags...)...)
	n.says("connect.log", "up: ")
	return cmd
}

// end ends a program by a signal, and waits for its device to go; ip is how that is looked at.
func (n *named) end(cmd *exec.Cmd, signal os.Signal, ip ...string) {
	n.t.Helper()
	if len(ip) == 0 {
		ip = []string{"ip"}
	}
	if err := cmd.Process.Signal(signal); err != nil {
		n.t.Fatal(err)
	}
	_ = cmd.Wait()
	n.WaitFor("end of the device", func() bool {
		_, err := n.Try(append(ip, "link", "show", "dev", "tun0")...)
		return err != nil
	})
}

// state is what a client changes of the machine: names, routes, firewall.
func (n *named) state() string {
	n.t.Helper()
	return n.Snapshot() + n.Run("ip", "-4", "route", "show", "table", "all") +
		n.Run("nft", "list", "ruleset")
}

// restored waits until the machine is as it was.
func (n *named) restored(when string) {
	n.t.Helper()
	if after := n.state(); after != n.before {
		n.t.Errorf("%s: it was\n%s\nand is\n%s", when, n.before, after)
	}
}

// resolves waits until a name is resolved to an address; each question has a name of its own.
func (n *named) resolves(domain, address string) {
	n.t.Helper()
	i := 0
	n.WaitFor(domain+" is "+address, func() bool {
		i++
		return n.Resolves(fmt.Sprintf("n%d-%d.%s", os.Getpid(), i, domain), address)
	})
}

// namers are the machines that resolve names in each way, and what another program does to that.
func namers() map[string]struct {
	machine func(*testing.T) *dnstest.Machine
	disturb func(*dnstest.Machine)
	keeps   bool // what the other program does is no part of what comes back
} {
	return map[string]struct {
		machine func(*testing.T) *dnstest.Machine
		disturb func(*dnstest.Machine)
		keeps   bool
	}{
		"resolved": {func(t *testing.T) *dnstest.Machine {
			m, _ := dnstest.NewResolved(t)
			return m
		}, func(m *dnstest.Machine) { m.Run("resolvectl", "revert", "tun0") }, true},
		"resolvconf": {func(t *testing.T) *dnstest.Machine { return dnstest.NewResolvconf(t) },
			func(m *dnstest.Machine) { m.Run("resolvconf", "-d", "tun.tun0") }, true},
		"file": {func(t *testing.T) *dnstest.Machine { return dnstest.New(t) },
			func(m *dnstest.Machine) {
				m.Write("/etc/new", "nameserver "+dnstest.Router+"\nsearch dhcp.example\n")
				m.Run("mv", "/etc/new", dnstest.ResolvConf)
			}, false},
	}
}

// TestAcceptDNS has the hub's DNS server resolve all names in each way that a machine has: from the
// beginning, after another program's rewrite, and after a kill; and the machine is then as before.
func TestAcceptDNS(t *testing.T) {
	t.Parallel()
	for name, way := range namers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNamed(t, way.machine(t), "--dns-domain", "corp.example")
			n.resolves("example", outsideName)
			cl := n.connect("--accept-dns")
			n.resolves("example", hubsName)
			n.resolves("corp.example", hubsName)
			n.end(cl, os.Kill)
			cl = n.connect("--accept-dns")
			n.resolves("example", hubsName)
			n.end(cl, os.Interrupt)
			n.restored("after a stop")
			n.resolves("example", outsideName)

			n.end(n.connect("--accept-dns"), os.Kill)
			n.Run(string(n.bin), "cleanup")
			n.restored("after a kill")
			n.resolves("example", outsideName)

			cl = n.connect("--accept-dns")
			n.resolves("example", hubsName)
			way.disturb(n.Machine)
			n.says("connect.log", "which is set again")
			n.resolves("example", hubsName)
			if !way.keeps {
				n.Run("sh", "-c", "echo options timeout:1 >>"+dnstest.ResolvConf)
			}
			n.end(cl, os.Interrupt)
			n.resolves("example", outsideName)
			if way.keeps {
				n.restored("after another program's change")
			} else if got := n.Read(dnstest.ResolvConf); got != "nameserver "+dnstest.Router+
				"\nsearch dhcp.example\noptions timeout:1\n" {
				t.Errorf("what was written meanwhile is not what comes back: %s", got)
			} else {
				n.says("connect.log", "another program has edited /etc/resolv.conf")
			}
		})
	}
}

// TestDomains has systemd-resolved ask the hub's DNS server for the names of its domains only, with
// no word on the client's side; without systemd-resolved one line says what accepts it.
func TestDomains(t *testing.T) {
	t.Parallel()
	t.Run("resolved", func(t *testing.T) {
		m, _ := dnstest.NewResolved(t)
		n := newNamed(t, m, "--dns-domain", "corp.example")
		cl := n.connect()
		n.resolves("corp.example", hubsName)
		n.resolves("example", outsideName)
		for _, name := range n.inside.Asked() {
			if !strings.HasSuffix(name, ".corp.example.") {
				t.Errorf("the hub is asked for %s", name)
			}
		}
		// A new session with the same network, although the DNS server is in that.
		n.end(n.hub, os.Interrupt, "ip", "-n", "outside")
		n.says("connect.log", "down: ")
		n.serve()
		n.WaitFor("another session", func() bool {
			return strings.Count(n.Read(filepath.Join(n.dir, "connect.log")), "up: ") == 2
		})
		n.resolves("corp.example", hubsName)
		n.end(cl, os.Interrupt)
		n.restored("after a stop")
		n.resolves("corp.example", outsideName)
	})
	t.Run("file", func(t *testing.T) {
		n := newNamed(t, dnstest.New(t), "--dns-domain", "corp.example")
		cl := n.connect()
		n.says("connect.log", `advice="have the server resolve all names with --accept-dns"`)
		n.resolves("corp.example", outsideName)
		n.end(cl, os.Interrupt)
		n.restored("after a stop")
	})
	t.Run("everybody's", func(t *testing.T) {
		m, _ := dnstest.NewResolved(t)
		n := newNamed(t, m, "--dns-domain", "com", "--dns", "8.8.8.8")
		cl := n.connect()
		n.says("connect.log", "the domain com is everybody's")
		n.says("connect.log", "they lie in no network of the tunnel that this client takes\" "+
			"servers=[8.8.8.8]")
		n.resolves("com", outsideName)
		n.end(cl, os.Interrupt)
		n.restored("after a stop")
	})
}

// TestAcceptDNSFails ends a client that cannot have all names resolved, at its start.
func TestAcceptDNSFails(t *testing.T) {
	t.Parallel()
	n := newNamed(t, dnstest.New(t))
	n.Run("mount", "--bind", "-o", "ro", dnstest.ResolvConf, dnstest.ResolvConf)
	n.Run("mount", "-o", "remount,bind,ro", dnstest.ResolvConf)
	n.before = n.state()
	cmd := n.connect("--accept-dns")
	_ = cmd.Wait()
	n.says("connect.log", "tunnel: dns: the tunnel's DNS servers cannot be set: ")
	if code := cmd.ProcessState.ExitCode(); code != 17 {
		t.Errorf("exit code %d", code)
	}
	n.restored("after the failure")
}
