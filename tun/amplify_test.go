package tun

import (
	"bytes"
	"errors"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/packet"
)

// The kernel gives super-packets that peers refuse: of datagrams that are smaller than their
// headers, and since Linux 6.9 of 128 datagrams. The reader splits them into records that peers
// take, and loses nothing.
func TestReaderKeepsToWhatPeersTake(t *testing.T) {
	inNamespace(t)
	d := up(t, "tun0", Open)
	if !d.Offload().USO {
		t.Fatalf("this kernel has offload %v only, and the test needs UDP super-packets: Linux 6.2",
			d.Offload())
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "udp", "10.1.1.2:9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sends := []struct{ size, count int }{{10, 64}, {1000, 64}}
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if largest := newestSegments(t); largest > 64 {
		sends = append(sends, struct{ size, count int }{100, 128})
	}
	payloads := make(chan []byte, 1000)
	ended := make(chan error, 1)
	supers := 0
	go func() {
		ended <- d.ReadBatches(func(b *packet.Batch) {
			for i := range b.Len() {
				if err := packet.Check(b.Record(i)); err != nil {
					t.Errorf("a peer would refuse what the reader gives out: %v", err)
				}
				if packet.ParseHeader(b.Record(i)).Segmented() {
					supers++
				}
				packet.Segments(b.Record(i), func(ip []byte) {
					if ip[0]>>4 == 4 {
						payloads <- bytes.Clone(ip[28:])
					}
				})
			}
		})
	}()
	for _, s := range sends {
		var failed error
		if err := raw.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, s.size)
		}); err != nil || failed != nil {
			t.Fatal(err, failed)
		}
		want := make([]byte, s.size*s.count)
		for i := range want {
			want[i] = byte(i / s.size)
		}
		if _, err := conn.Write(want); err != nil {
			t.Fatalf("%d datagrams of %d bytes: %v", s.count, s.size, err)
		}
		var got []byte
		for range s.count {
			p := <-payloads
			if len(p) != s.size {
				t.Fatalf("a datagram of %d bytes; want %d", len(p), s.size)
			}
			got = append(got, p...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d datagrams of %d bytes arrive changed", s.count, s.size)
		}
	}
	_ = d.Close()
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if supers == 0 {
		t.Error("no super-packet came, so that this tests nothing")
	}
}

// newestSegments returns how many datagrams a socket of this kernel can send at once.
func newestSegments(t *testing.T) int {
	t.Helper()
	l, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "10.1.1.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err := l.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1)
	})
	if _, err := l.WriteTo(make([]byte, 128), l.LocalAddr()); err != nil {
		return 64
	}
	return 128
}
