package packet_test

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/packet"
	"tunnel/tun"
)

// The kernel is the oracle: a super-packet that comes in on a device with offload and is forwarded
// to one without has to be segmented by the kernel, and Segments must give the same bytes.
func TestSegmentsLikeKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test makes TUN devices in a network namespace and needs root: run `make " +
			"test`")
	}
	runtime.LockOSThread() // never unlocked: the namespace goes with the thread
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	in, err := tun.Open("in")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if !in.Offload().USO {
		t.Fatalf("this kernel has offload %v only, and the test needs UDP super-packets: Linux 6.2",
			in.Offload())
	}
	out, err := tun.OpenPlain("out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for _, command := range []string{
		"ip link set lo up",
		"ip link set in up", "ip link set out up",
		"ip route add 10.1.1.1 dev out", "ip route add 10.1.1.3 dev in",
		"ip -6 route add fd00::1 dev out", "ip -6 route add fd00::3 dev in",
		"sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 " +
			"net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.in.rp_filter=0",
	} {
		words := strings.Fields(command)
		text, err := exec.CommandContext(t.Context(), words[0], words[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", command, err, text)
		}
	}
	packets, ended := make(chan []byte, 1000), make(chan error, 1)
	go func() {
		ended <- out.ReadBatches(func(b *packet.Batch) {
			for i := range b.Len() {
				// Joined again on this side: a plain device gives only what the kernel has
				// segmented.
				packet.Segments(b.Record(i), func(ip []byte) {
					// the kernel's own router solicitations
					if d := packet.Destination(ip); !d.IsMulticast() {
						packets <- bytes.Clone(ip)
					}
				})
			}
		})
	}()
	for name, record := range packet.SuperRecords() {
		var want [][]byte
		packet.Segments(bytes.Clone(record), func(ip []byte) { want = append(want, forwarded(ip)) })
		var b packet.Batch
		if rest, err := b.Split(record, packet.FramingVnet); len(rest) > 0 || err != nil {
			t.Fatal(err)
		}
		if refused, err := in.WriteBatch(&b); err != nil || refused != 0 {
			t.Errorf("%s: the kernel refused it: %v", name, err)
			continue
		}
		var got [][]byte
		for len(got) < len(want) {
			select {
			case ip := <-packets:
				got = append(got, ip)
			case err := <-ended:
				t.Fatal(err)
			}
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("%s, segment %d of %d:\nkernel %x\n  ours %x", name, i, len(want),
					got[i][:60], want[i][:60])
				break
			}
		}
	}
}

// forwarded returns ip as a router sends it on: one hop older.
func forwarded(ip []byte) []byte {
	ip = bytes.Clone(ip)
	if ip[0]>>4 == 6 {
		ip[7]--
		return ip
	}
	ip[8]--
	ip[10], ip[11] = 0, 0
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(ip[i])<<8 | uint32(ip[i+1])
	}
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	ip[10], ip[11] = ^byte(sum>>8), ^byte(sum)
	return ip
}
