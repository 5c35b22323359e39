// Package lab makes hosts out of network namespaces, so that whole-system tests and benchmarks run
// real programs across real links on one machine.
//
// A host is a namespace, a link is a veth pair, a switch is a namespace with a bridge. All names
// contain the process ID and a random number, so that labs can run at the same time. Cleanup
// removes everything; the next lab removes what a killed process has left.
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
	namePrefix = "tn-"        // of every namespace: tn-PID-RANDOM-HOST
	netnsDir   = "/run/netns" // ip(8)'s named namespaces
	etcDir     = "/etc/netns" // ip(8)'s hosts and resolv.conf of each namespace
	lockDir    = "/run"       // labs take a lock on this directory, which always exists
	allowedCC  = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"
	killWait   = 5 * time.Second // the time for a killed process to end
)

// TB is the part of testing.TB that a Lab needs, so that a program other than a test can use it
// too. Fatalf must not return. If the value also has Failed(), the output of every Proc is logged
// after a failure.
type TB interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(fn func())
}

// Lab is a set of hosts that live until the end of a test. Its methods may be called from any
// goroutine that may call Fatalf.
type Lab struct {
	t      TB
	prefix string // "tn-PID-RANDOM-"

	mu    sync.Mutex // guards the rest
	hosts []*Host
	procs []*Proc
}

// New returns an empty lab, which is removed at the end of the test. It fails the test if the
// caller is not root, since namespaces need root and a test that did not run must not pass.
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

// Host makes a namespace with lo up and cubic, the usual default, as its congestion control. The
// name is short and unique in the lab.
func (l *Lab) Host(name string) *Host {
	l.t.Helper()
	h := &Host{lab: l, name: name, ns: l.prefix + name}
	l.mu.Lock()
	l.hosts = append(l.hosts, h) // first, so that a failure half-way is cleaned up too
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

// Link connects two hosts by a veth pair with the addresses given in CIDR form, and returns the
// names of the two devices (eth0, eth1, … on each host, in the order of the links). An end with an
// empty CIDR gets no address.
func (l *Lab) Link(a *Host, aCIDR string, b *Host, bCIDR string) (aDev, bDev string) {
	l.t.Helper()
	aDev, bDev = a.nextDev(), b.nextDev()
	l.ip("link", "add", aDev, "netns", a.ns, "type", "veth", "peer", "name", bDev, "netns", b.ns)
	a.configure(aDev, aCIDR)
	b.configure(bDev, bCIDR)
	return aDev, bDev
}

// Switch makes a host that is a bridge. Attach connects other hosts to it.
func (l *Lab) Switch(name string) *Host {
	l.t.Helper()
	sw := l.Host(name)
	l.ip("-n", sw.ns, "link", "add", bridgeDev, "type", "bridge")
	l.ip("-n", sw.ns, "link", "set", "dev", bridgeDev, "up")
	return sw
}

// Attach connects a host to a switch and returns the name of the host's device.
func (l *Lab) Attach(h *Host, cidr string, sw *Host) (dev string) {
	l.t.Helper()
	dev, port := l.Link(h, cidr, sw, "")
	l.ip("-n", sw.ns, "link", "set", "dev", port, "master", bridgeDev)
	return dev
}

// ip runs ip(8) on the machine itself. It must succeed.
func (l *Lab) ip(args ...string) {
	l.t.Helper()
	if err := ip(args...); err != nil {
		l.t.Fatalf("lab: %v", err)
	}
}

// close ends every process, then removes every namespace. It also runs after a Fatalf, and goes on
// after an error, so that one error does not leave the rest.
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

// sweep removes the namespaces of labs whose process has ended: a test binary that was killed or
// ran into its time-out runs no Cleanup.
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

// removeNS kills the processes in a namespace, and removes it together with its directory below
// /etc/netns.
func removeNS(ns string) error {
	deadline := time.Now().Add(killWait)
	for {
		pids, err := pidsIn(ns)
		if err != nil || len(pids) == 0 {
			break // no such namespace; Remove below reports the rest
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not die", pids)
		}
		for _, pid := range pids {
			if pid == os.Getpid() {
				return errors.New("this process itself is inside")
			}
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
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
	_ = os.Remove(etcDir) // fails if other files are in it
	return errors.Join(errs...)
}

// setCubic makes cubic the default congestion control of a namespace. A namespace may only choose
// among what the machine allows to all users, so cubic is added to that list meanwhile. The caller
// holds the lock.
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

// pidsIn returns the processes inside a namespace.
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

// locked runs fn while no other lab on this machine holds the lock. The first `ip netns add` after
// a boot makes /run/netns a mount point, and two of them at once lose each other's namespaces.
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
