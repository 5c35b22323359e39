package sever_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/sever"
)

// patience is how long a test waits for what is about to happen, on however busy a machine.
const patience = 20 * time.Second

// machine puts the test into a network namespace that has the addresses of a hub and of two
// clients, and tracks connections.
func machine(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes a network namespace and needs root: run `make test`")
	}
	runtime.LockOSThread() // never unlocked: the namespace goes with the thread
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	run(t, "ip link set lo up")
	for _, a := range []string{"10.1.1.1", "10.1.1.3", "10.1.1.5"} {
		run(t, "ip addr add "+a+"/32 dev lo")
	}
	run(t, "ip -6 addr add fd00::3/128 dev lo nodad")
	run(t, "nft add table inet t")
	run(t, "nft add chain inet t out { type filter hook output priority 0 ; }")
	run(t, "nft add rule inet t out ct state new accept")
}

func run(t *testing.T, command string) {
	t.Helper()
	words := strings.Fields(command)
	if text, err := exec.CommandContext(t.Context(), words[0],
		words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, text)
	}
}

// cut drops all that goes to an address, and from it.
func cut(t *testing.T, a string) {
	t.Helper()
	run(t, "nft insert rule inet t out ip daddr "+a+" drop")
	run(t, "nft insert rule inet t out ip saddr "+a+" drop")
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// connect returns both ends of a connection from an address to a listener.
func connect(t *testing.T, from string, to net.Listener, host string) (near, far net.Conn) {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	near, err := dialer.DialContext(t.Context(), "tcp",
		net.JoinHostPort(host, fmt.Sprint(to.Addr().(*net.TCPAddr).Port)))
	if err != nil {
		t.Fatal(err)
	}
	far, err = to.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

// states returns the states of the TCP sockets with an address, as /proc/net/tcp has them, without
// those that listen.
func states(t *testing.T, hex string) (all []string) {
	t.Helper()
	for _, name := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile("/proc/thread-self/net/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); strings.Contains(f[1]+f[2], hex+":") && f[3] != "0A" {
				all = append(all, f[3])
			}
		}
	}
	return all
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

const third = "0301010A" // 10.1.1.3 in /proc/net/tcp

func TestAddress(t *testing.T) {
	machine(t)
	a := netip.MustParseAddr("10.1.1.3")
	hub := listen(t, "10.1.1.1:0")
	dual := listen(t, "[::]:0") // its connections are IPv6 sockets with IPv4 in them
	own := listen(t, "10.1.1.3:0")

	victim, served := connect(t, "10.1.1.3", hub, "10.1.1.1")
	_, mapped := connect(t, "10.1.1.3", dual, "10.1.1.1")
	_, orphan := connect(t, "10.1.1.3", hub, "10.1.1.1")
	other, otherServed := connect(t, "10.1.1.5", hub, "10.1.1.1")
	ended, endedServed := connect(t, "10.1.1.3", hub, "10.1.1.1")
	_ = endedServed.Close() // the hub's end is in TIME_WAIT
	_, _ = io.ReadAll(ended)
	_ = ended.Close()

	udp, err := new(net.Dialer).DialContext(t.Context(), "udp", "10.1.1.3:9")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	if _, err := udp.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	unconnected, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "10.1.1.3:0")
	if err != nil {
		t.Fatal(err)
	}
	defer unconnected.Close()

	cut(t, "10.1.1.3")
	if _, err := served.Write(make([]byte, 100_000)); err != nil { // never acknowledged
		t.Fatal(err)
	}
	if _, err := orphan.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	_ = orphan.Close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: a.As4()}); !errors.Is(err,
		unix.EINPROGRESS) && !errors.Is(err, unix.EPERM) {
		t.Fatal(err)
	}
	before := strings.Join(states(t, third), " ")
	// ESTABLISHED, SYN_SENT, FIN_WAIT1, TIME_WAIT
	for _, state := range []string{"01", "02", "04", "06"} {
		if !strings.Contains(before, state) {
			t.Errorf("no socket is in state %s: %s", state, before)
		}
	}

	r, err := sever.Networks(t.Context(), single(a))
	if err != nil {
		t.Fatal(err)
	}
	if left := states(t, third); len(left) > 0 {
		t.Errorf("connections of 10.1.1.3 are left, in states %v", left)
	}
	if want := len(strings.Fields(before)); r.TCP != want || r.UDP != 1 || r.Conntrack < 4 {
		t.Errorf("ended %+v; want %d TCP, 1 UDP, and conntrack entries of both", r, want)
	}
	for name, c := range map[string]net.Conn{"the hub's": served, "the other's": victim,
		"the IPv6 socket's": mapped} {
		if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.ECONNABORTED) &&
			!errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s end: %v", name, err)
		}
	}
	if text, err := os.ReadFile("/proc/thread-self/net/nf_conntrack"); err == nil &&
		strings.Contains(string(text), "10.1.1.3 ") {
		t.Errorf("tracked still:\n%s", text)
	}

	// All other sockets still work.
	_ = otherServed.SetDeadline(time.Now().Add(patience))
	_ = other.SetDeadline(time.Now().Add(patience))
	if _, err := other.Write([]byte("still here")); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(otherServed, make([]byte, 10)); err != nil {
		t.Error(err)
	}
	run(t, "nft flush chain inet t out")
	for _, l := range []net.Listener{hub, own} { // also the listener on the address itself
		connect(t, "10.1.1.5", l, l.Addr().(*net.TCPAddr).IP.String())
	}
	_ = unconnected.SetDeadline(time.Now().Add(patience))
	if _, err := unconnected.WriteTo([]byte("x"), unconnected.LocalAddr()); err != nil {
		t.Error(err)
	}
	if _, _, err := unconnected.ReadFrom(make([]byte, 10)); err != nil {
		t.Error(err)
	}
	again, err := sever.Networks(t.Context(), single(netip.MustParseAddr("10.1.1.7")))
	if err != nil || again != (sever.Report{}) {
		t.Errorf("an address without sockets: %+v, %v", again, err)
	}
}

func TestAddressIPv6(t *testing.T) {
	machine(t)
	l := listen(t, "[::1]:0")
	near, _ := connect(t, "fd00::3", l, "::1")
	// the reset of one end may end the other
	r, err := sever.Networks(t.Context(), single(netip.MustParseAddr("fd00::3")))
	if err != nil || r.TCP == 0 || r.Conntrack == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := near.Write([]byte("x")); err == nil {
		t.Error("the connection goes on")
	}
}

// The kernel selects the sockets: others are not listed here one by one.
func TestAddressAmongMany(t *testing.T) {
	machine(t)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	l := listen(t, "10.1.1.1:0")
	var conns []net.Conn
	for range min(5000, int(limit.Cur)/2-100) {
		near, far := connect(t, "10.1.1.5", l, "10.1.1.1")
		conns = append(conns, near, far)
	}
	connect(t, "10.1.1.3", l, "10.1.1.1")
	began := time.Now()
	r, err := sever.Networks(t.Context(), single(netip.MustParseAddr("10.1.1.3")))
	t.Logf("%d sockets of others: %+v in %v", len(conns), r, time.Since(began))
	if err != nil || r.TCP == 0 || r.Conntrack != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := conns[0].Write([]byte("x")); err != nil {
		t.Error(err)
	}
}

func TestAddressEnds(t *testing.T) {
	machine(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sever.Networks(ctx, single(netip.MustParseAddr("10.1.1.3"))); !errors.Is(err,
		context.Canceled) {
		t.Errorf("%v", err)
	}
}
