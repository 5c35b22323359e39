// Package dnstest gives a test a machine of its own to resolve names on: /etc and /run, and the
// real systemd-resolved, resolvconf and openresolv, which conflict with each other and take over
// the /etc/resolv.conf of a machine that has them installed.
package dnstest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/ipcmd/iptest"
)

// The files of a Machine, and the name server of its network.
const (
	ResolvConf = "/etc/resolv.conf"
	Router     = "192.168.9.1"
)

// Machine is what the calling goroutine, and the programs that it starts, see: a network of its
// own, and files that are gone with the test. It has eth0 with 192.168.9.2, and a TUN device tun0
// without an address, whose other ends are in the namespace "outside".
type Machine struct {
	t   *testing.T
	dir string // for overlays
}

// New makes a Machine for the rest of the test, on whose goroutine it must be used, with Debian
// packages that deploy/unpack.sh has unpacked; nothing of them runs. Its names are in
// /etc/resolv.conf, a plain file.
func New(t *testing.T, packages ...string) *Machine {
	t.Helper()
	iptest.Namespace(t) // locks the thread
	must(t, unix.Unshare(unix.CLONE_NEWNS))
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	dir, err := os.MkdirTemp("", "dnstest") // an overlay's directory has no comma, as t.Name may
	must(t, err)
	t.Cleanup(func() { must(t, os.Remove(dir)) })
	m := &Machine{t: t, dir: dir}
	// These mounts are not seen outside, so that they are no files to remove.
	must(t, unix.Mount("tmpfs", m.dir, "tmpfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(m.dir, unix.MNT_DETACH)) })
	must(t, unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"))
	m.overlay("/etc", packages)
	if len(packages) > 0 {
		m.overlay("/usr", packages)
	}
	m.Plain()
	m.Write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
	m.Write("/etc/hosts", "127.0.0.1 localhost\n")
	m.Run("ip", "netns", "add", "outside")
	m.link("eth0", "192.168.9.2/24", Router+"/24")
	m.tunnel()
	return m
}

// Plain makes /etc/resolv.conf a plain file again, which names the router.
func (m *Machine) Plain() {
	m.t.Helper()
	for mounted := true; mounted; { // by Bind
		mounted = unix.Unmount(ResolvConf, unix.MNT_DETACH) == nil
	}
	must(m.t, os.RemoveAll(ResolvConf))
	m.Write(ResolvConf, "nameserver "+Router+"\n")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (m *Machine) link(dev, here, there string) {
	m.t.Helper()
	m.Run("ip", "link", "add", dev, "type", "veth", "peer", "name", dev, "netns", "outside")
	m.Run("ip", "link", "set", dev, "up")
	m.Run("ip", "-n", "outside", "link", "set", dev, "up")
	m.Run("ip", "addr", "add", "dev", dev, here)
	m.Run("ip", "-n", "outside", "addr", "add", "dev", dev, there)
}

// tunnel makes two TUN devices tun0, and has each get the other's packets.
func (m *Machine) tunnel() {
	m.t.Helper()
	there := m.tun("tun1") // made here, because this thread stays in its namespace
	m.Run("ip", "link", "set", "tun1", "netns", "outside")
	m.Run("ip", "-n", "outside", "link", "set", "tun1", "name", "tun0", "up")
	m.Run("ip", "-n", "outside", "addr", "add", "dev", "tun0", "10.1.1.1/24")
	m.Run("ip", "-n", "outside", "addr", "add", "dev", "tun0", "10.1.1.4/24")
	here := m.tun("tun0")
	m.Run("ip", "link", "set", "tun0", "up")
	var pumps sync.WaitGroup
	pump := func(to, from *os.File) {
		packet := make([]byte, 1<<16)
		for {
			n, err := from.Read(packet)
			switch {
			case errors.Is(err, os.ErrClosed):
				return
			case err == nil:
				_, _ = to.Write(packet[:n]) // fails while the device is down
			default:
				time.Sleep(time.Millisecond)
			}
		}
	}
	pumps.Go(func() { pump(here, there) })
	pumps.Go(func() { pump(there, here) })
	m.t.Cleanup(func() {
		must(m.t, errors.Join(here.Close(), there.Close()))
		pumps.Wait()
	})
}

// tun makes a TUN device.
func (m *Machine) tun(name string) *os.File {
	m.t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	must(m.t, err)
	request, err := unix.NewIfreq(name)
	must(m.t, err)
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	must(m.t, unix.IoctlIfreq(fd, unix.TUNSETIFF, request))
	return os.NewFile(uintptr(fd), name)
}

// overlay has a directory show the files of packages above its own, and take changes that are gone
// with the test.
func (m *Machine) overlay(dir string, packages []string) {
	m.t.Helper()
	lower := ""
	for _, name := range packages {
		tree := filepath.Join(unpacked(m.t), name)
		if _, err := os.Stat(tree); err != nil {
			m.t.Fatalf("%s is not unpacked: run `make needs`", name)
		}
		if _, err := os.Stat(tree + dir); err == nil {
			lower += tree + dir + ":"
		}
	}
	upper, err := os.MkdirTemp(m.dir, "upper")
	must(m.t, err)
	work, err := os.MkdirTemp(m.dir, "work")
	must(m.t, err)
	must(m.t, os.Chmod(upper, 0o755))
	must(m.t, unix.Mount("overlay", dir, "overlay", 0,
		"lowerdir="+lower+dir+",upperdir="+upper+",workdir="+work))
}

// unpacked is where the Makefile has packages unpacked.
func unpacked(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	for err == nil && dir != "/" {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "bin/needs")
		}
		dir = filepath.Dir(dir)
	}
	t.Fatalf("no go.mod above %s, %v", dir, err)
	return ""
}

// NewResolved is New with systemd-resolved, to whose file /etc/resolv.conf is a link as the package
// makes it, and which has the router's name server. It returns the process, too.
func NewResolved(t *testing.T) (*Machine, *exec.Cmd) {
	t.Helper()
	m := New(t, "systemd-resolved", "libsystemd-shared")
	m.Write("/etc/passwd", m.Read("/etc/passwd")+"systemd-resolve:x:992:992::/:/bin/false\n")
	m.Write("/etc/group", m.Read("/etc/group")+"systemd-resolve:x:992:\n")
	m.Write("/etc/systemd/resolved.conf", "[Resolve]\nDNS="+Router+"\nFallbackDNS=\nLLMNR=no\n"+
		"MulticastDNS=no\nDNSSEC=no\n")
	must(t, errors.Join(os.MkdirAll("/run/dbus", 0o755), os.MkdirAll("/run/systemd", 0o755)))
	m.Start("dbus-daemon", "--system", "--nofork", "--nopidfile")
	m.WaitFor("the bus", func() bool {
		_, err := os.Stat("/run/dbus/system_bus_socket")
		return err == nil
	})
	resolved := m.Start("/usr/lib/systemd/systemd-resolved")
	m.WaitFor("systemd-resolved", func() bool {
		_, err := m.Try("resolvectl", "dns")
		return err == nil
	})
	m.Link("../run/systemd/resolve/stub-resolv.conf")
	return m, resolved
}

// NewResolvconf is New with Debian's resolvconf, which has a record of eth0.
func NewResolvconf(t *testing.T, packages ...string) *Machine {
	t.Helper()
	m := New(t, append(packages, "resolvconf")...)
	must(t, os.MkdirAll("/run/resolvconf/interface", 0o755))
	m.Link("../run/resolvconf/resolv.conf")
	m.Run("resolvconf", "--enable-updates")
	m.Run("sh", "-c", "echo nameserver "+Router+" | resolvconf -a eth0.dhclient")
	return m
}

// NewOpenresolv is New with openresolv, which has a record of eth0.
func NewOpenresolv(t *testing.T, packages ...string) *Machine {
	t.Helper()
	m := New(t, append(packages, "openresolv")...)
	m.Run("sh", "-c", "echo nameserver "+Router+" | resolvconf -a eth0")
	return m
}

// Write writes a file in place.
func (m *Machine) Write(path, text string) {
	m.t.Helper()
	must(m.t, os.WriteFile(path, []byte(text), 0o644))
}

// Link has /etc/resolv.conf be a symbolic link.
func (m *Machine) Link(target string) {
	m.t.Helper()
	must(m.t, os.RemoveAll(ResolvConf))
	must(m.t, os.Symlink(target, ResolvConf))
}

// Read returns what a file holds.
func (m *Machine) Read(path string) string {
	m.t.Helper()
	text, err := os.ReadFile(path)
	must(m.t, err)
	return string(text)
}

// Bind mounts a file with that text over /etc/resolv.conf, as Docker does.
func (m *Machine) Bind(text string) {
	m.t.Helper()
	path := filepath.Join(m.dir, "bound")
	m.Write(path, text)
	must(m.t, unix.Mount(path, ResolvConf, "", unix.MS_BIND, ""))
}

// Snapshot describes what names depend on: what is at /etc/resolv.conf, what resolvconf has, and
// what is left beside it.
func (m *Machine) Snapshot() string {
	m.t.Helper()
	var all strings.Builder
	describe := func(path string) {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		must(m.t, err)
		all.WriteString(path + " " + info.Mode().String())
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			must(m.t, err)
			all.WriteString(" -> " + target)
		case info.Mode().IsRegular():
			all.WriteString("\n" + m.Read(path) + "<")
		}
		all.WriteString("\n")
	}
	beside, err := filepath.Glob(ResolvConf + "*")
	must(m.t, err)
	for _, path := range beside {
		describe(path)
	}
	err = filepath.WalkDir("/run/resolvconf", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			describe(path)
		}
		return nil
	})
	must(m.t, err)
	return all.String()
}

// Run runs a program that must succeed, and returns its output.
func (m *Machine) Run(argv ...string) string {
	m.t.Helper()
	out, err := m.Try(argv...)
	if err != nil {
		m.t.Fatalf("%q: %v: %s", argv, err, out)
	}
	return out
}

// limit bounds a program, and what is waited for.
const limit = 30 * time.Second

// Try runs a program that may fail, and returns its output.
func (m *Machine) Try(argv ...string) (string, error) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	return string(out), err
}

// Start starts a program, which is killed at the end of the test.
func (m *Machine) Start(argv ...string) *exec.Cmd {
	m.t.Helper()
	var output strings.Builder
	cmd := exec.CommandContext(context.Background(), argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &output, &output
	must(m.t, cmd.Start())
	m.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if m.t.Failed() {
			m.t.Logf("%q:\n%s", argv, &output)
		}
	})
	return cmd
}

// WaitFor waits until done reports true.
func (m *Machine) WaitFor(what string, done func() bool) {
	m.t.Helper()
	for until := time.Now().Add(limit); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(until) {
			m.t.Fatalf("no %s within %v", what, limit)
		}
	}
}

// Resolves reports whether the C library resolves a name to an address.
func (m *Machine) Resolves(name, address string) bool {
	m.t.Helper()
	out, err := m.Try("getent", "ahostsv4", name)
	return err == nil && strings.HasPrefix(out, address+" ")
}

// outside calls do in the namespace "outside".
func (m *Machine) outside(do func() error) error {
	namespace, err := os.Open("/run/netns/outside")
	if err != nil {
		return err
	}
	defer func() { _ = namespace.Close() }()
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = do()
		}
		result <- err
	}()
	return <-result
}
