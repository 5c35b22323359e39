package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"tunnel/cmdrun"
	"tunnel/dns"
	"tunnel/dns/dnstest"
	"tunnel/host"
	"tunnel/journal"
	"tunnel/rtnl"
)

// killVariable is the number of the command before which a victim is killed, or if it is negative,
// after which.
const killVariable = "TUNNEL_TEST_KILL_AT"

// TestMain lets the test binary be the run that is killed.
func TestMain(m *testing.M) {
	if at, err := strconv.Atoi(os.Getenv(killVariable)); err == nil {
		if err := victim(at); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// killer is a Runner that kills this process at one of its commands.
type killer struct {
	cmdrun.Runner

	at, ran int
}

func (k *killer) Run(ctx context.Context, c cmdrun.Command) ([]byte, error) {
	k.ran++
	if k.ran == k.at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	out, err := k.Runner.Run(ctx, c)
	if k.ran == -k.at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	return out, err
}

// victim is a client as far as its host is concerned, from its start to its end.
func victim(at int) error {
	h, err := newHost(&killer{Runner: cmdrun.NewExec(nil), at: at})
	if err != nil {
		return err
	}
	return errors.Join(h.Apply(context.Background(), want()), h.Close())
}

func want() host.Want {
	w := host.Pair("tun0", 1400, 100, netip.MustParseAddr("10.1.1.3"),
		netip.MustParseAddr("10.1.1.4"), netip.MustParsePrefix("10.1.1.0/24"))
	w.Names = dns.Config{Servers: []netip.Addr{netip.MustParseAddr("10.1.1.1")},
		Domains: []string{"corp.example"}, All: true}
	return w
}

// newHost returns the Host of tun0.
func newHost(run cmdrun.Runner) (*host.Host, error) {
	dir, err := journal.Dir()
	if err != nil {
		return nil, err
	}
	j, err := journal.Open(dir, "tun0", host.Kinds())
	if err != nil {
		return nil, err
	}
	m := journal.Machine{Run: run, Look: rtnl.Kernel{}}
	if _, err := j.Heal(context.Background(), m); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return host.New(m, j, nil), nil
}

// cleanup is `tunnel cleanup`.
func cleanup(t *testing.T) {
	t.Helper()
	m := journal.Machine{Run: cmdrun.NewExec(nil), Look: rtnl.Kernel{}}
	dirs, err := journal.Dirs()
	if err != nil {
		t.Fatal(err)
	}
	_, err = journal.Cleanup(t.Context(), m, host.Kinds(), nil, dirs...)
	_, failed := dns.Heal(t.Context(), m)
	if err := errors.Join(err, failed); err != nil {
		t.Error(err)
	}
}

// snapshot describes all that a run changes.
func snapshot(m *dnstest.Machine) string {
	all := m.Snapshot() + m.Run("ip", "-4", "addr", "show", "dev", "tun0") + m.Run("ip", "route")
	if out, err := m.Try("resolvectl", "dns", "tun0"); err == nil {
		all += out + m.Run("resolvectl", "domain", "tun0")
	}
	return all
}

// machines are those with all that can resolve names.
func machines() map[string]func(*testing.T) *dnstest.Machine {
	return map[string]func(*testing.T) *dnstest.Machine{
		"resolved": func(t *testing.T) *dnstest.Machine {
			m, _ := dnstest.NewResolved(t)
			return m
		},
		"resolvconf": func(t *testing.T) *dnstest.Machine { return dnstest.NewResolvconf(t) },
		"openresolv": func(t *testing.T) *dnstest.Machine { return dnstest.NewOpenresolv(t) },
		"file":       func(t *testing.T) *dnstest.Machine { return dnstest.New(t) },
	}
}

// TestKill kills a run at each command in turn, from its start to its end: names resolve again as
// before, and nothing is left.
func TestKill(t *testing.T) {
	t.Parallel()
	for name, machine := range machines() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := machine(t)
			m.Serve(dnstest.Router, "192.0.2.80")
			m.Run("ip", "link", "set", "tun0", "mtu", "1400", "qlen", "100") // which is not undone
			before := snapshot(m)
			for at, killed := 1, 0; ; at++ {
				ended := 0
				for _, at := range []int{at, -at} {
					if !runVictim(t, at) {
						ended++
						continue
					}
					killed++
					cleanup(t)
					if after := snapshot(m); after != before {
						t.Fatalf("killed at %d, left\n%s\nwant\n%s", at, after, before)
					}
					if name := fmt.Sprintf("n%d.example", killed); !m.Resolves(name, "192.0.2.80") {
						t.Errorf("killed at %d, %s does not resolve", at, name)
					}
				}
				if ended == 2 {
					if killed < 12 {
						t.Errorf("killed %d times", killed)
					}
					break
				}
			}
			if after := snapshot(m); after != before { // a whole run
				t.Errorf("left\n%s\nwant\n%s", after, before)
			}
		})
	}
}

// runVictim runs a victim to its end, and reports whether it was killed.
func runVictim(t *testing.T, at int) bool {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), killVariable+"="+strconv.Itoa(at))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == -1 {
		return true
	}
	if err != nil {
		t.Fatalf("the run says %q, %v", strings.TrimSpace(string(out)), err)
	}
	return false
}
