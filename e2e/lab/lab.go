// Package lab builds hosts out of network namespaces, so that whole-system
// tests and benchmarks run real programs across real links on one machine.
//
// A host is a namespace, a link is a veth pair, a switch is a namespace with a
// bridge. Everything is named after the process and a random number, so that
// labs stand side by side; everything goes away in Cleanup, and what a killed
// process could not clean up is swept by the next lab.
package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	namePrefix = "tn-"        // of every namespace a lab makes: tn-PID-RANDOM-HOST
	netnsDir   = "/run/netns" // where ip(8) keeps named namespaces
	etcDir     = "/etc/netns" // where ip(8) looks for a namespace's hosts and resolv.conf
	lockDir    = "/run"       // what labs lock against each other; it is always there
	allowedCC  = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"
	killWait   = 5 * time.Second // for a killed process to be gone
)

// TB is what a Lab needs of a testing.TB, so that a program which is no test
// can use it too. Fatalf must not return. When the value also has Failed(), the
// output of every Proc is logged after a failure.
type TB interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(fn func())
}

// Lab is a set of hosts that live until the end of one test. Its methods may be
// called from any goroutine that may call Fatalf.
type Lab struct {
	t      TB
	prefix string // "tn-PID-RANDOM-"

	mu    sync.Mutex // guards the rest
	hosts []*Host
	procs []*Proc
}

// New returns an empty lab that removes itself at the end of the test. It fails
// when the caller is not root: namespaces cannot be made otherwise, and a test
// that did not run must not look like one that passed.
func New(t TB) *Lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatalf("lab: network namespaces need root: run the tests as root, or through sudo")
	}
	var random [3]byte
	if _, err := rand.Read(random[:]); err != nil {
		t.Fatalf("lab: random name: %v", err)
	}
	l := &Lab{t: t, prefix: fmt.Sprintf("%s%d-%s-", namePrefix, os.Getpid(),
		hex.EncodeToString(random[:]))}
	if err := sweep(); err != nil {
		t.Fatalf("lab: sweep the leftovers of a killed run: %v", err)
	}
	t.Cleanup(l.close)
	return l
}

// Host makes a host: a namespace with lo up and cubic as its congestion
// control, which is what a user's machine most likely has. The name is for
// people, short, and unique in the lab.
func (l *Lab) Host(name string) *Host {
	l.t.Helper()
	h := &Host{lab: l, name: name, ns: l.prefix + name}
	l.mu.Lock()
	l.hosts = append(l.hosts, h) // before it exists: a failure half-way is cleaned up too
	l.mu.Unlock()
	err := locked(func() error {
		if err := ip("netns", "add", h.ns); err != nil {
			return err
		}
		return setCubic(h.ns)
	})
	if err != nil {
		l.t.Fatalf("lab: host %s: %v", name, err)
	}
	l.ip("-n", h.ns, "link", "set", "dev", "lo", "up")
	return h
}

// Link joins two hosts by a veth pair, one address in CIDR form on each end,
// and returns the names of the two devices (eth0, eth1, … on each host in the
// order of their links). An empty CIDR leaves its end without an address.
func (l *Lab) Link(a *Host, aCIDR string, b *Host, bCIDR string) (aDev, bDev string) {
	l.t.Helper()
	aDev, bDev = a.nextDev(), b.nextDev()
	l.ip("link", "add", aDev, "netns", a.ns, "type", "veth", "peer", "name", bDev, "netns", b.ns)
	a.configure(aDev, aCIDR)
	b.configure(bDev, bCIDR)
	return aDev, bDev
}

// Switch makes a host that is nothing but a bridge: Attach other hosts to it.
func (l *Lab) Switch(name string) *Host {
	l.t.Helper()
	sw := l.Host(name)
	l.ip("-n", sw.ns, "link", "add", bridgeDev, "type", "bridge")
	l.ip("-n", sw.ns, "link", "set", "dev", bridgeDev, "up")
	return sw
}

// Attach plugs a host into a switch and returns the name of its device there.
func (l *Lab) Attach(h *Host, cidr string, sw *Host) (dev string) {
	l.t.Helper()
	dev, port := l.Link(h, cidr, sw, "")
	l.ip("-n", sw.ns, "link", "set", "dev", port, "master", bridgeDev)
	return dev
}

// ip runs ip(8) on the machine itself; it must succeed.
func (l *Lab) ip(args ...string) {
	l.t.Helper()
	if err := ip(args...); err != nil {
		l.t.Fatalf("lab: %v", err)
	}
}

// close ends every process, then removes every namespace. It runs after a
// Fatalf too, and goes on after an error: one leftover must not keep others.
func (l *Lab) close() {
	l.mu.Lock()
	procs, hosts := l.procs, l.hosts
	l.procs, l.hosts = nil, nil
	l.mu.Unlock()

	failed := false
	if f, ok := l.t.(interface{ Failed() bool }); ok {
		failed = f.Failed()
	}
	for _, p := range procs {
		p.Kill()
		if failed {
			l.t.Logf("%s", p.dump())
		}
	}
	for _, h := range hosts {
		if err := removeNS(h.ns); err != nil {
			l.t.Logf("lab: remove host %s: %v", h.name, err)
		}
	}
}

// sweep removes the namespaces of labs whose process is gone: a test binary
// that was killed, or that ran into its time-out, runs no Cleanup.
func sweep() error {
	return locked(func() error {
		entries, err := os.ReadDir(netnsDir)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		var errs []error
		for _, e := range entries {
			rest, ours := strings.CutPrefix(e.Name(), namePrefix)
			pid, err := strconv.Atoi(strings.SplitN(rest, "-", 2)[0])
			if !ours || err != nil || !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
				continue
			}
			errs = append(errs, removeNS(e.Name()))
		}
		return errors.Join(errs...)
	})
}

// removeNS kills what still runs in a namespace, by pid, and removes it
// together with its directory below /etc/netns.
func removeNS(ns string) error {
	deadline := time.Now().Add(killWait)
	for {
		pids, err := pidsIn(ns)
		if err != nil || len(pids) == 0 {
			break // no such namespace: nothing to kill; Remove below says the rest
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not die", pids)
		}
		for _, pid := range pids {
			if pid == os.Getpid() {
				return errors.New("this process itself is inside")
			}
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself meanwhile
		}
		time.Sleep(5 * time.Millisecond)
	}
	var errs []error
	if _, err := os.Stat(filepath.Join(netnsDir, ns)); err == nil {
		errs = append(errs, ip("netns", "del", ns))
	}
	if err := os.RemoveAll(filepath.Join(etcDir, ns)); err != nil {
		errs = append(errs, err)
	}
	_ = os.Remove(etcDir) // only when it is empty, that is, when it was ours alone
	return errors.Join(errs...)
}

// setCubic makes cubic the default congestion control of a namespace. Some
// machines have another default and let a namespace choose only among what the
// machine allows to everybody, so cubic joins that list while it is chosen. The
// caller holds the lock.
func setCubic(ns string) error {
	const choose = "echo cubic >/proc/sys/net/ipv4/tcp_congestion_control"
	if ip("netns", "exec", ns, "sh", "-c", choose) == nil {
		return nil
	}
	before, err := os.ReadFile(allowedCC)
	if err != nil {
		return err
	}
	if err := os.WriteFile(allowedCC,
		[]byte(strings.TrimSpace(string(before))+" cubic\n"), 0); err != nil {
		return fmt.Errorf("allow cubic: %w", err)
	}
	err = ip("netns", "exec", ns, "sh", "-c", choose)
	return errors.Join(err, os.WriteFile(allowedCC, before, 0))
}

// pidsIn lists the processes inside a namespace.
func pidsIn(ns string) ([]int, error) {
	out, err := exec.CommandContext(context.Background(), "ip", "netns", "pids", ns).Output()
	if err != nil {
		return nil, fmt.Errorf("list the processes of %s: %w", ns, err)
	}
	var pids []int
	for field := range strings.FieldsSeq(string(out)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("list the processes of %s: %w", ns, err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// ip runs ip(8) and puts its stderr into the error.
func ip(args ...string) error {
	out, err := exec.CommandContext(context.Background(), "ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err,
			strings.TrimSpace(string(out)))
	}
	return nil
}

// locked runs fn while no other lab of this machine is inside it. The first
// `ip netns add` of a boot turns /run/netns into a mount point, and two of them
// at once lose each other's namespaces.
func locked(fn func() error) error {
	f, err := os.Open(lockDir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lockDir, err)
	}
	return fn()
}
