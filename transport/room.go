package transport

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// The kernel lets the buffers of a connection grow with its path, up to tcp_wmem and tcp_rmem. Usual
// bounds, 4 and 6 MiB, hold it at about 210 Mbit/s over 100 ms. Where the path takes more, the
// buffers are made larger here, for which the process needs CAP_NET_ADMIN.
const (
	// maxRoom is the most bytes that a buffer is made to have.
	maxRoom = 32 << 20
	// leastRoom is how many bytes a path must carry within a round trip for its buffers to be looked
	// at, and the least by which one grows.
	leastRoom = 1 << 20
	// lanesAllowance is the allowance, in bytes, of a session without a Budget.
	lanesAllowance = 64 << 20
	// allowanceShare is the part of a Budget, as a divisor, that its connections' buffers may take.
	allowanceShare = 4
)

// allowance bounds the bytes by which the buffers of several sockets together are larger than the
// kernel would have them. Its methods are safe for concurrent use. The nil *allowance allows nothing.
type allowance struct {
	limit  int64
	used   atomic.Int64
	budget *Budget // is charged for it; nil is none
}

// take returns how many of n bytes are allowed: at most half of what is left, so that no connection
// takes all of it, and 0 if that is less than leastRoom. The caller gives them back later. It holds no
// lock of a queue.
func (a *allowance) take(n int) int {
	for a != nil {
		used := a.used.Load()
		granted := min(int64(n), (a.limit-used)/2)
		if granted < leastRoom {
			break
		}
		if a.used.CompareAndSwap(used, used+granted) {
			if a.budget != nil && a.budget.charge(granted) {
				a.budget.relieve()
			}
			return int(granted)
		}
	}
	return 0
}

// give gives back n bytes that take has allowed.
func (a *allowance) give(n int) {
	if n == 0 {
		return
	}
	a.used.Add(-int64(n))
	if a.budget != nil {
		a.budget.charge(-int64(n))
	}
}

// rooms is the size in bytes of a socket's buffers as the kernel counts them (SO_SNDBUF, SO_RCVBUF).
type rooms struct{ send, receive int }

// narrow reports whether the path of info carries so little that its buffers need no look.
func narrow(info *unix.TCPInfo) bool {
	return sendWindow(info) < leastRoom && info.Rcv_space < leastRoom
}

// sendWindow returns how many bytes the congestion control lets be under way, maxRoom at most.
func sendWindow(info *unix.TCPInfo) int {
	return int(min(uint64(info.Snd_cwnd)*uint64(info.Snd_mss), maxRoom))
}

// roomsFor returns the buffers that the path of info wants; they are now's where those suffice.
func roomsFor(info *unix.TCPInfo, now rooms) rooms {
	want := now
	// A socket is writable as long as no more than two thirds of its buffer are taken (sk_stream_is_writeable in
	// include/net/sock.h), and bookkeeping takes some. Twice as much again, for the window doubles within a round trip.
	if window := sendWindow(info); window >= leastRoom && now.send < 2*window {
		want.send = max(now.send, min(4*window, maxRoom))
	}
	// Rcv_space came within one round trip. A window of twice that lets the sender double its rate, or wait for a segment that was
	// lost; the kernel itself keeps it so below its bound. A third to a half of the buffer is bookkeeping.
	if space := int(min(info.Rcv_space, maxRoom)); space >= leastRoom && int(info.Rcv_ssthresh) < 2*space {
		want.receive = max(now.receive, min(8*space, maxRoom))
	}
	return want
}

// expand makes the socket's buffers larger if the path of info wants that and the allowance has room. On a local network
// the kernel's bounds are enough.
func (s *socket) expand(info *unix.TCPInfo) {
	if s.allowance == nil || s.path.rtt < lanRTT || narrow(info) {
		return
	}
	_ = s.raw.Control(func(raw uintptr) {
		fd := int(raw)
		now := rooms{send: bufferSize(fd, unix.SO_SNDBUF), receive: bufferSize(fd, unix.SO_RCVBUF)}
		want := roomsFor(info, now)
		sends := s.enlarge(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, now.send, want.send)
		receives := s.enlarge(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, now.receive, want.receive)
		if receives {
			// It stays where the kernel's bound was otherwise, whatever the buffer is. The kernel takes no more than fits.
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, want.receive)
		}
		if sends || receives {
			// Close resets the connection from now on. Otherwise the kernel would keep what is in flight
			// for as long as the peer acknowledges a little of it, with the allowance given to others.
			_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		}
	})
}

// bufferSize returns the value of SO_SNDBUF or SO_RCVBUF, 0 when it is not known.
func bufferSize(fd, option int) int {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
	if err != nil {
		return 0
	}
	return n
}

// enlarge has a buffer of now bytes grow towards want, as far as the allowance goes, and reports whether
// it has grown. Without CAP_NET_ADMIN it stays.
func (s *socket) enlarge(fd, force, size, now, want int) bool {
	if now == 0 || want <= now {
		return false
	}
	granted := s.allowance.take(want - now)
	if granted == 0 {
		return false
	}
	grown := 0
	// The kernel doubles what it is given.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, (now+granted)/2) == nil {
		grown = min(max(bufferSize(fd, size)-now, 0), granted)
	}
	s.allowance.give(granted - grown)
	s.taken += grown
	return grown > 0
}

// release gives back what the socket, which is closed, has taken of the allowance.
func (s *socket) release() {
	s.allowance.give(s.taken)
	s.taken = 0
}
