package tun

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/packet"
)

// inNamespace locks the test's goroutine to a thread with a network namespace of its own. The
// thread ends with the goroutine, and the namespace and its devices with the thread.
func inNamespace(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes TUN devices in a network namespace and needs root: run `make test`")
	}
	runtime.LockOSThread() // never unlocked
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("unshare: %v", err)
	}
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// up opens a device until the end of the test, and configures it as the program does.
func up(t *testing.T, name string, open func(string) (Device, error)) Device {
	t.Helper()
	d, err := open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	ip(t, "link", "set", "dev", name, "up", "mtu", "1400", "qlen", "100")
	ip(t, "addr", "add", "dev", name, "local", "10.1.1.1", "peer", "10.1.1.2")
	return d
}

// read sends each packet that it reads from d, segmented, to packets, and the final error to ended.
func read(d Device) (packets chan []byte, ended chan error) {
	packets, ended = make(chan []byte, 1000), make(chan error, 1)
	go func() {
		ended <- d.ReadBatches(func(b *packet.Batch) {
			for i := range b.Len() {
				packet.Segments(b.Record(i), func(p []byte) { packets <- bytes.Clone(p) })
			}
		})
	}()
	return packets, ended
}

func TestOpenReadWriteClose(t *testing.T) {
	for name, open := range map[string]func(string) (Device, error){"offload": Open,
		"plain": OpenPlain} {
		t.Run(name, func(t *testing.T) { openReadWriteClose(t, open) })
	}
}

func openReadWriteClose(t *testing.T, open func(string) (Device, error)) {
	inNamespace(t)
	d, err := open("tun0")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Name() != "tun0" {
		t.Errorf("Name = %q", d.Name())
	}
	if _, err := Open("tun0"); !errors.Is(err, ErrTaken) {
		t.Errorf("a second Open: %v; want ErrTaken", err)
	}
	ip(t, "link", "set", "dev", "tun0", "up", "mtu", "1400")
	ip(t, "addr", "add", "dev", "tun0", "local", "10.1.1.1", "peer", "10.1.1.2")

	// Three datagrams from the kernel, which may be joined.
	conn, err := new(net.Dialer).DialContext(t.Context(), "udp", "10.1.1.2:9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i := range 3 {
		fmt.Fprintf(conn, "datagram %d", i)
	}
	packets, ended := read(d)
	for seen := 0; seen < 3; {
		p := <-packets
		if p[0]>>4 != 4 || packet.Destination(p) != netip.MustParseAddr("10.1.1.2") {
			continue // router solicitations of IPv6
		}
		if want := fmt.Sprintf("datagram %d", seen); !bytes.HasSuffix(p, []byte(want)) {
			t.Errorf("packet %d ends in %q", seen, p[28:])
		}
		seen++
	}

	// A datagram in the other direction reaches a socket.
	local, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "10.1.1.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	reply := []byte{0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 1, 2, 10, 1, 1, 1, 0, 9, 0, 9,
		0, 12, 0, 0, 'b', 'a', 'c', 'k'}
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(reply[i])<<8 | uint32(reply[i+1])
	}
	sum = sum>>16 + sum&0xffff
	reply[10], reply[11] = ^byte(sum>>8), ^byte(sum)
	var b packet.Batch
	if _, err := b.Split(reply, packet.FramingIP); err != nil {
		t.Fatal(err)
	}
	if refused, err := d.WriteBatch(&b); err != nil || refused != 0 {
		t.Errorf("WriteBatch = %d refused, %v", refused, err)
	}
	buf := make([]byte, 16)
	_ = local.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, _, err := local.ReadFrom(buf); err != nil || string(buf[:n]) != "back" {
		t.Errorf("the socket read %q, %v", buf[:n], err)
	}

	// Close wakes the reader, and the interface is gone.
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("ReadBatches after Close: %v", err)
	}
	if _, err := net.InterfaceByName("tun0"); err == nil {
		t.Error("tun0 exists after Close")
	}
}

// A child process that outlives the device does not keep the interface.
func TestChildDoesNotInheritDevice(t *testing.T) {
	inNamespace(t)
	d, err := Open("tun0")
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), "sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	_ = d.Close()
	if _, err := net.InterfaceByName("tun0"); err == nil {
		t.Error("tun0 lives on in a child process")
	}
}

// Open refuses another program's persistent device, and one that is no TUN device.
func TestOpenRefusesForeignDevices(t *testing.T) {
	inNamespace(t)
	ip(t, "tuntap", "add", "dev", "tun7", "mode", "tun")
	ip(t, "link", "add", "veth7", "type", "veth", "peer", "name", "veth8")
	for _, name := range []string{"tun7", "veth7"} {
		if _, err := Open(name); !errors.Is(err, ErrTaken) {
			t.Errorf("Open(%s): %v; want ErrTaken", name, err)
		}
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"tun0", "a", "exactly15bytes0", "mein-tunnel.7"} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "sixteen-bytes-xx", "a/b", "a b", "tun%d", "-a",
		"a:1", "a\n"} {
		if err := CheckName(name); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v; want ErrName", name, err)
		}
	}
}

func TestDeviceDeletedUnderneath(t *testing.T) {
	inNamespace(t)
	d, err := Open("tun0")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ip(t, "link", "set", "dev", "tun0", "up")
	ip(t, "link", "del", "dev", "tun0")
	if err := d.ReadBatches(func(*packet.Batch) {}); !errors.Is(err, ErrGone) {
		t.Errorf("ReadBatches on a deleted device: %v; want ErrGone", err)
	}
}
