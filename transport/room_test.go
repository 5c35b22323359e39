package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fat describes a path that is cut short by the kernel's usual buffers: 2 × 2,900 segments of 1,448 bytes may be under way, and
// 3 MB came within a round trip.
func fat() *unix.TCPInfo {
	return &unix.TCPInfo{Snd_cwnd: 5800, Snd_mss: 1448, Rcv_space: 3 << 20, Rcv_ssthresh: 4 << 20}
}

// Buffers follow the path where they hold it up, and nowhere else.
func TestRooms(t *testing.T) {
	t.Parallel()
	usual := rooms{send: 4 << 20, receive: 6 << 20}
	for name, test := range map[string]struct {
		info *unix.TCPInfo
		now  rooms
		want rooms
	}{
		"new":                       {&unix.TCPInfo{Snd_cwnd: 10, Snd_mss: 1448, Rcv_space: 14600, Rcv_ssthresh: 64 << 10}, rooms{16 << 10, 128 << 10}, rooms{16 << 10, 128 << 10}},
		"100 Mbit/s, 40 ms":         {&unix.TCPInfo{Snd_cwnd: 1000, Snd_mss: 1448, Rcv_space: 500 << 10, Rcv_ssthresh: 1 << 20}, usual, usual},
		"both ways":                 {fat(), usual, rooms{32 << 20, 24 << 20}},
		"a little":                  {&unix.TCPInfo{Snd_cwnd: 1500, Snd_mss: 1448}, usual, rooms{4 * 1500 * 1448, 6 << 20}},
		"enough":                    {fat(), rooms{24 << 20, 32 << 20}, rooms{24 << 20, 32 << 20}},
		"a window that suffices":    {&unix.TCPInfo{Rcv_space: 3 << 20, Rcv_ssthresh: 6 << 20}, usual, usual},
		"a window of no use":        {&unix.TCPInfo{Snd_cwnd: 1 << 31, Snd_mss: 1448, Rcv_space: 1 << 30}, usual, rooms{maxRoom, maxRoom}},
		"larger than it would take": {fat(), rooms{8 << 20, 64 << 20}, rooms{32 << 20, 64 << 20}},
	} {
		if got := roomsFor(test.info, test.now); got != test.want {
			t.Errorf("%s: %+v; want %+v", name, got, test.want)
		}
		if test.want != test.now && narrow(test.info) {
			t.Errorf("%s: is not looked at", name)
		}
	}
}

// tcpSocket returns a socket of a connection over the loopback, whose path is as long as rtt.
func tcpSocket(t *testing.T, rtt time.Duration, a *allowance) *socket {
	t.Helper()
	s, _, _ := tcpSocketPair(t, rtt, a)
	return s
}

// tcpSocketPair returns that with the two ends of the connection, of which own is the socket's.
func tcpSocketPair(t *testing.T, rtt time.Duration, a *allowance) (s *socket, own, peer net.Conn) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var d net.Dialer
	if own, err = d.DialContext(t.Context(), "tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = own.Close() })
	if peer, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = peer.Close() })
	raw, err := own.(syscall.Conn).SyscallConn() //nolint:forcetypeassert // it is TCP
	if err != nil {
		t.Fatal(err)
	}
	return &socket{raw: raw, allowance: a, path: path{rtt: rtt}}, own, peer
}

// buffers returns the sizes of the socket's buffers.
func (s *socket) buffers(t *testing.T) (r rooms) {
	t.Helper()
	if err := s.raw.Control(func(fd uintptr) {
		r = rooms{bufferSize(int(fd), unix.SO_SNDBUF), bufferSize(int(fd), unix.SO_RCVBUF)}
	}); err != nil {
		t.Fatal(err)
	}
	return r
}

// The buffers of a long path grow beyond what the kernel gives, by no more than the allowance, which gets that back. Those of
// a local network stay.
func TestExpand(t *testing.T) {
	t.Parallel()
	a := &allowance{limit: 128 << 20}
	s := tcpSocket(t, 100*time.Millisecond, a)
	before := s.buffers(t)
	info := fat()
	want := roomsFor(info, before)
	if os.Geteuid() != 0 { // without CAP_NET_ADMIN
		want = before
	}
	s.expand(info)
	if got := s.buffers(t); got != want {
		t.Errorf("%+v bytes; want %+v, and %+v before", got, want, before)
	}
	if grown := want.send - before.send + want.receive - before.receive; s.taken != grown || a.used.Load() != int64(grown) {
		t.Errorf("%d and %d bytes taken for %d", s.taken, a.used.Load(), grown)
	}
	s.expand(info)
	if got := s.buffers(t); got != want {
		t.Errorf("%+v bytes after another look; want %+v", got, want)
	}

	scarce := &allowance{limit: 1 << 20}
	for name, other := range map[string]*socket{
		"the allowance is used up":   tcpSocket(t, 100*time.Millisecond, scarce),
		"nothing is allowed":         tcpSocket(t, 100*time.Millisecond, nil),
		"a local network":            tcpSocket(t, lanRTT-1, a),
		"a path that carries little": tcpSocket(t, 100*time.Millisecond, a),
	} {
		before := other.buffers(t)
		if name == "a path that carries little" {
			other.expand(&unix.TCPInfo{Snd_cwnd: 100, Snd_mss: 1448})
		} else {
			other.expand(info)
		}
		if got := other.buffers(t); got != before || other.taken != 0 {
			t.Errorf("%s: %+v bytes; want %+v as before", name, got, before)
		}
	}
	if n := scarce.used.Load(); n != 0 {
		t.Errorf("%d bytes are taken for nothing", n)
	}
	s.release()
	if n := a.used.Load(); n != 0 || s.taken != 0 {
		t.Errorf("%d bytes are still taken after the end", n)
	}
}

// A connection gets half of what is left at most, so that the first does not take all, and nothing
// when that is little.
func TestAllowanceIsShared(t *testing.T) {
	t.Parallel()
	a := &allowance{limit: 32 << 20}
	for i, want := range []int{16 << 20, 8 << 20, 4 << 20, 2 << 20, 1 << 20, 0, 0} {
		if n := a.take(20 << 20); n != want {
			t.Errorf("connection %d may take %d bytes; want %d", i, n, want)
		}
	}
	if n := a.used.Load(); n != 31<<20 {
		t.Errorf("%d bytes are taken", n)
	}
	a.give(16 << 20)
	if n := a.take(2 << 20); n != 2<<20 {
		t.Errorf("%d bytes allowed of 2 MiB, with 17 MiB left", n)
	}
}

// What buffers in the kernel have grown by is taken from what the queues of the Budget may hold.
func TestAllowanceIsCharged(t *testing.T) {
	t.Parallel()
	const limit = 16 << 20
	b := NewBudget(limit)
	q := b.NewQueue(limit)
	fill(q, 1, limit/room)
	if n := q.held(); n < limit/2 {
		t.Fatalf("%d bytes are held without the buffers", n)
	}
	n := b.sockets.take(limit)
	if n != limit/allowanceShare/2 {
		t.Fatalf("%d bytes are allowed", n)
	}
	if held := q.held() + int64(n); held > limit {
		t.Errorf("%d bytes are held with the buffers; want %d at most", held, limit)
	}
	fill(q, 1, limit/room)
	if held := q.held() + int64(n); held > limit {
		t.Errorf("%d bytes are held with the buffers and more packets; want %d at most", held, limit)
	}
	b.sockets.give(n)
	q.Close()
	if used := b.used.Load(); used != 0 {
		t.Errorf("%d bytes are charged after the end", used)
	}
}

// A connection whose buffers have grown leaves nothing in the kernel: its end is a reset.
func TestEnlargedIsReset(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_NET_ADMIN")
	}
	for _, grows := range []bool{false, true} {
		s, own, peer := tcpSocketPair(t, 100*time.Millisecond, &allowance{limit: 128 << 20})
		if grows {
			s.expand(fat())
		}
		if _, err := own.Write([]byte("unread")); err != nil {
			t.Fatal(err)
		}
		_ = own.Close()
		_, err := io.Copy(io.Discard, peer)
		if reset := errors.Is(err, unix.ECONNRESET); reset != grows {
			t.Errorf("grown: %v; the peer reads to %v", grows, err)
		}
	}
}

// Every connection of a Budget has its part of it, and one of a session without has a bound as well.
func TestAllowances(t *testing.T) {
	t.Parallel()
	b := NewBudget(100 << 20)
	own, lanes := b.NewQueue(1), b.NewLanes(1, "token")
	for name, q := range map[string]*Queue{"queue": own, "first lane": lanes.Join(), "second lane": lanes.Join()} {
		if q.allowance != &b.sockets {
			t.Errorf("%s: another allowance than the budget's", name)
		}
	}
	if b.sockets.limit != 25<<20 {
		t.Errorf("%d bytes are allowed", b.sockets.limit)
	}
	alone := NewLanes(1)
	if one, two := alone.Join(), alone.Join(); one.allowance != two.allowance || one.allowance.limit != lanesAllowance {
		t.Error("two lanes of a client have not one allowance")
	}
	if NewQueue(1).allowance.take(2<<20) != 0 {
		t.Error("a queue without an allowance has one")
	}
}
