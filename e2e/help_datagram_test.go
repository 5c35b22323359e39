package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/e2e/lab"
)

// datagrams is a flow of UDP from one host to another: at every tick a burst of datagrams, each of
// a size between least and most. Each has a number and a checksum; the receiver reports any that is
// changed, duplicated or reordered.
type datagrams struct {
	name        string
	least, most int // bytes of payload, at least headerSize
	burst       int
	tick        time.Duration
	// The burst is passed to the kernel at once (UDP_SEGMENT), and sent as a super-packet.
	segmented bool
	capable   bool // the sender marks packets as ECN-capable (RFC 3168)

	t              *testing.T
	v6             bool
	sent, received atomic.Int64
	marked         atomic.Int64 // received with CE
	wrong          atomic.Pointer[string]
	stop           chan struct{}
	sender, reader sync.WaitGroup
	from, to       *net.UDPConn
}

// headerSize is the size of each datagram's header in bytes: number, size, checksum of the whole.
const headerSize = 16

// ECN codepoints (RFC 3168 section 5).
const (
	ecnNot     = 0
	ecnCapable = 2
	ecnCE      = 3
)

// start sends from a host to an address of another, until settle.
func (d *datagrams) start(t *testing.T, from, to *lab.Host, addr string) *datagrams {
	t.Helper()
	d.t, d.v6, d.stop = t, netip.MustParseAddr(addr).Is6(), make(chan struct{})
	d.name = fmt.Sprintf("%s, %s → %s", d.name, from.Name(), addr)
	err := to.Do(func() error {
		conn, err := new(net.ListenConfig).ListenPacket(context.Background(), "udp",
			net.JoinHostPort(addr, "0"))
		if err == nil {
			d.to, _ = conn.(*net.UDPConn)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := from.DialContext(t.Context(), "udp", d.to.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	d.from, _ = conn.(*net.UDPConn)
	d.options()
	d.sender.Go(d.send)
	d.reader.Go(d.receive)
	t.Cleanup(func() {
		d.end()
		_ = d.from.Close()
		_ = d.to.Close()
		d.sender.Wait()
		d.reader.Wait()
	})
	return d
}

// options sets the socket options that the flow needs.
func (d *datagrams) options() {
	d.t.Helper()
	level, tos, receive := unix.IPPROTO_IP, unix.IP_TOS, unix.IP_RECVTOS
	if d.v6 {
		level, tos, receive = unix.IPPROTO_IPV6, unix.IPV6_TCLASS, unix.IPV6_RECVTCLASS
	}
	set := func(c *net.UDPConn, level, option, value int) {
		raw, err := c.SyscallConn()
		if err != nil {
			d.t.Fatal(err)
		}
		var failed error
		if err := errors.Join(
			raw.Control(
				func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, value) }),
			failed); err != nil {
			d.t.Fatalf("%s: option %d: %v", d.name, option, err)
		}
	}
	set(d.to, level, receive, 1)
	set(d.to, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	if d.capable {
		set(d.from, level, tos, ecnCapable)
	}
	if d.segmented {
		set(d.from, unix.IPPROTO_UDP, unix.UDP_SEGMENT, d.most)
	}
}

// send runs the sender. A datagram that finds the socket full or no route is not sent.
func (d *datagrams) send() {
	r := rand.New(rand.NewPCG(uint64(d.most), uint64(d.burst)))
	ticker := time.NewTicker(d.tick)
	defer ticker.Stop()
	buf := make([]byte, d.burst*d.most)
	var number uint64
	for {
		select {
		case <-d.stop:
			return
		case <-ticker.C:
		}
		var whole []byte
		for range d.burst {
			p := buf[len(whole) : len(whole)+d.least+r.IntN(d.most-d.least+1)]
			number++
			d.fill(p, number, r)
			if d.segmented {
				whole = buf[:len(whole)+len(p)]
				continue
			}
			if _, err := d.from.Write(p); err == nil {
				d.sent.Add(1)
			}
		}
		if d.segmented {
			if _, err := d.from.Write(whole); err == nil {
				d.sent.Add(int64(d.burst))
			}
		}
	}
}

func (d *datagrams) fill(p []byte, number uint64, r *rand.Rand) {
	// Enough noise to detect a displaced byte, and cheap to make.
	for i := headerSize; i < len(p); i += 97 {
		p[i] = byte(r.Uint32())
	}
	binary.BigEndian.PutUint64(p, number)
	binary.BigEndian.PutUint32(p[8:], uint32(len(p)))
	binary.BigEndian.PutUint32(p[12:], 0)
	binary.BigEndian.PutUint32(p[12:], crc32.ChecksumIEEE(p))
}

// receive runs the receiver.
func (d *datagrams) receive() {
	buf, oob := make([]byte, 64<<10), make([]byte, 128)
	var last uint64
	for {
		n, m, _, _, err := d.to.ReadMsgUDPAddrPort(buf, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			d.complain("receive: %v", err)
			return
		}
		d.received.Add(1)
		p := buf[:n]
		if n < headerSize {
			d.complain("a datagram of %d bytes", n)
			continue
		}
		number, size, sum := binary.BigEndian.Uint64(p), binary.BigEndian.Uint32(p[8:]),
			binary.BigEndian.Uint32(p[12:])
		binary.BigEndian.PutUint32(p[12:], 0)
		if int(size) != n || sum != crc32.ChecksumIEEE(p) {
			d.complain("number %d, of %d bytes, came with %d bytes or other ones", number, size, n)
		}
		if number <= last {
			d.complain("number %d came after %d", number, last)
		}
		last = number
		switch got := codepoint(oob[:m]); {
		case got == ecnCE && d.capable:
			d.marked.Add(1)
		case d.capable && got != ecnCapable, !d.capable && got != ecnNot:
			d.complain("number %d has ECN codepoint %d", number, got)
		}
	}
}

// codepoint returns the ECN field of a received datagram, -1 if the kernel does not report it.
func codepoint(oob []byte) int {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return -1
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_TOS && len(m.Data) > 0:
			return int(m.Data[0]) & 3
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_TCLASS &&
			len(m.Data) >= 4:
			return int(binary.NativeEndian.Uint32(m.Data)) & 3
		}
	}
	return -1
}

// complain records the first error.
func (d *datagrams) complain(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	d.wrong.CompareAndSwap(nil, &text)
}

func (d *datagrams) end() {
	select {
	case <-d.stop:
	default:
		close(d.stop)
	}
}

// settle stops flows and waits until no more of their datagrams arrive.
func settle(flows []*datagrams) {
	for _, d := range flows {
		d.end()
	}
	arrived := func() (n int64) {
		for _, d := range flows {
			d.sender.Wait()
			n += d.received.Load()
		}
		return n
	}
	for quiet, seen := 0, int64(-1); quiet < 20; time.Sleep(100 * time.Millisecond) {
		if now := arrived(); now == seen {
			quiet++
		} else {
			quiet, seen = 0, now
		}
	}
}

// verify fails the test if a settled flow has received something that was not sent. It returns how
// many datagrams were lost.
func (d *datagrams) verify() (lost int64) {
	d.t.Helper()
	sent, received := d.sent.Load(), d.received.Load()
	if text := d.wrong.Load(); text != nil {
		d.t.Errorf("%s: %s", d.name, *text)
	}
	if received == 0 || received > sent {
		d.t.Errorf("%s: %d arrived of %d", d.name, received, sent)
	}
	d.t.Logf("%s: %d sent, %d lost, %d marked", d.name, sent, sent-received, d.marked.Load())
	return sent - received
}
