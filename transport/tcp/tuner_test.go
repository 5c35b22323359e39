package tcp

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"tunnel/transport/fq"
)

// tcpSocket returns the tuner of a connection over the loopback.
func tcpSocket(t *testing.T, a *fq.Allowance) *Tuner {
	t.Helper()
	s, _, _ := tcpSocketPair(t, a)
	return s
}

// tcpSocketPair returns that with the two ends of the connection, of which own is the socket's.
func tcpSocketPair(t *testing.T, a *fq.Allowance) (s *Tuner, own, peer net.Conn) {
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
	w, err := New(own, nil)
	if err != nil {
		t.Fatal(err)
	}
	s = NewTuner(w, "")
	s.allowance = a
	return s, w, peer
}

// sizes returns those of the socket's buffers.
func (s *Tuner) sizes(t *testing.T) (send, receive int) {
	t.Helper()
	if err := s.raw.Control(func(fd uintptr) {
		send, receive = bufferSize(int(fd), unix.SO_SNDBUF), bufferSize(int(fd), unix.SO_RCVBUF)
	}); err != nil {
		t.Fatal(err)
	}
	return send, receive
}

// see has the tuner decide on s, with the sizes that its buffers have.
func (s *Tuner) see(t *testing.T, fat func(send, receive int) Sample) {
	t.Helper()
	path := fat(s.sizes(t))
	if err := s.raw.Control(func(fd uintptr) {
		s.narrow.mu.Lock()
		defer s.narrow.mu.Unlock()
		s.memory = start()
		s.update(int(fd), path)
	}); err != nil {
		t.Fatal(err)
	}
}

// allowance returns an allowance of limit bytes: a quarter of a budget.
func allowance(limit int64) *fq.Allowance {
	return fq.NewBudget(4 * limit).NewQueue(0).Allowance()
}

// The buffers of a long path grow beyond what the kernel gives, by no more than the allowance,
// which gets that back. Those of a local network stay.
func TestEnlarge(t *testing.T) {
	t.Parallel()
	a := allowance(128 << 20)
	s := tcpSocket(t, a)
	beforeSend, beforeReceive := s.sizes(t)
	wantSend, wantReceive := maxBuffer, 24<<20
	if os.Geteuid() != 0 { // without CAP_NET_ADMIN
		wantSend, wantReceive = beforeSend, beforeReceive
	}
	for range 2 {
		s.see(t, fat)
		if send, receive := s.sizes(t); send != wantSend || receive != wantReceive {
			t.Errorf("%d, %d bytes; want %d, %d", send, receive, wantSend, wantReceive)
		}
		if grown := wantSend - beforeSend + wantReceive - beforeReceive; s.taken != grown ||
			a.Used() != int64(grown) {
			t.Errorf("%d and %d bytes taken for %d", s.taken, a.Used(), grown)
		}
	}
	for name, scarce := range map[string]*fq.Allowance{"the allowance is used " +
		"up": allowance(1 << 20), "nothing is allowed": nil} {
		other := tcpSocket(t, scarce)
		beforeSend, beforeReceive := other.sizes(t)
		other.see(t, fat)
		if send, receive := other.sizes(t); send != beforeSend || receive != beforeReceive ||
			other.taken != 0 {
			t.Errorf("%s: %d, %d bytes; want %d, %d as before", name, send, receive, beforeSend,
				beforeReceive)
		}
		if scarce != nil && scarce.Used() != 0 {
			t.Errorf("%s: %d bytes are taken for nothing", name, scarce.Used())
		}
	}
	s.Release()
	if n := a.Used(); n != 0 || s.taken != 0 {
		t.Errorf("%d bytes are still taken after the end", n)
	}
}

// A receive buffer that is narrow for a while is left alone, and is not charged again.
func TestNarrowIsNotEnlarged(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_NET_ADMIN")
	}
	a := allowance(128 << 20)
	s, own, _ := tcpSocketPair(t, a)
	conn, _ := own.(*Conn)
	s.see(t, fat)
	_, wide := s.sizes(t)
	charged := a.Used()
	conn.Narrow()
	s.see(t, fat)
	if _, receive := s.sizes(t); receive != narrowBuffer || a.Used() != charged {
		t.Errorf("narrow: %d bytes, %d charged; want %d, %d", receive, a.Used(), narrowBuffer, charged)
	}
	conn.Widen()
	s.see(t, fat)
	if _, receive := s.sizes(t); receive != wide || a.Used() != charged {
		t.Errorf("wide: %d bytes, %d charged; want %d, %d", receive, a.Used(), wide, charged)
	}
}

// A connection whose buffers have grown leaves nothing in the kernel: its end is a reset.
func TestEnlargedIsReset(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs CAP_NET_ADMIN")
	}
	for _, grows := range []bool{false, true} {
		s, own, peer := tcpSocketPair(t, allowance(128<<20))
		if grows {
			s.see(t, fat)
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
