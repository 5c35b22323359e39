package tcp

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/transport/fq"
)

// CongestionAuto chooses the congestion control by the path. On a long path that is BBR, which does
// not take random loss for congestion; this matters because one connection carries all flows
// inside. On a local network nothing is lost at random, and the system's default costs less.
const CongestionAuto = "auto"

// maxRTO bounds the kernel's retransmission time-out: no path has so long a round trip.
const maxRTO = 3 * time.Second

// A Tuner samples a socket at intervals and applies the settings that decide returns. Its methods
// must not run concurrently, except for Drained.
type Tuner struct {
	Settings
	raw        syscall.RawConn
	congestion string // the wanted control: CongestionAuto, or "" for the system's default
	before     string // the system's default
	control    string // the present control
	began      time.Time
	memory     memory
	look       func(fd uintptr) // lookAt, made once: a closure for each call would be garbage
	narrow     *narrowing       // of the socket's Conn

	allowance *fq.Allowance // of the socket's buffers; nil before Start
	taken     int           // bytes taken from allowance
}

// NewTuner returns the tuner of a connection's socket.
func NewTuner(w *Conn, congestion string) *Tuner {
	t := &Tuner{raw: w.raw, congestion: congestion, began: time.Now(), memory: start(),
		narrow: &w.narrow}
	t.Settings, t.look = t.memory.Settings, t.lookAt
	return t
}

// Start configures the socket for a connection with that keepalive interval, whose buffers may grow
// by that allowance, nil for none. Errors are ignored: a kernel that is too old, or restricts a
// congestion control to root, keeps its defaults.
func (t *Tuner) Start(keepalive time.Duration, a *fq.Allowance) {
	t.allowance = a
	_ = t.raw.Control(func(raw uintptr) {
		fd := int(raw)
		// The kernel gives the connection up when data stays unacknowledged for two intervals.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT,
			int(2*keepalive/time.Millisecond))
		// The back-off of retransmissions is bounded, so that after an outage the kernel tries
		// again soon (Linux 6.15).
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS,
			int(maxRTO/time.Millisecond))
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, t.Unsent)
		t.before, _ = unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		t.control = t.before
		if t.congestion != CongestionAuto && t.congestion != "" {
			t.setControl(fd, t.congestion)
		}
	})
	t.Look()
}

// Look samples the socket if a sample is due and applies the socket's settings. It reports whether
// settings have changed that the caller applies.
func (t *Tuner) Look() (changed bool) {
	if !t.memory.due(time.Since(t.began), t.control) {
		return false
	}
	before := t.Settings
	_ = t.raw.Control(t.look)
	return t.Target != before.Target || t.Interval != before.Interval ||
		t.Coalesce != before.Coalesce
}

func (t *Tuner) lookAt(raw uintptr) {
	fd := int(raw)
	t.narrow.mu.Lock()
	defer t.narrow.mu.Unlock()
	s, err := sample(fd, time.Since(t.began), t.control)
	if err == nil {
		t.update(fd, s)
	}
}

// update applies what decide says of a sample. The caller holds the lock of t.narrow.
func (t *Tuner) update(fd int, s Sample) {
	if t.narrow.on {
		// A peer that is read slowly: its receive buffer is small for now, and its size of before is
		// charged already.
		s.RecvBuffer = 0
	}
	before := t.Settings
	t.memory, t.Settings = decide(t.memory, s)
	t.apply(fd, before, s)
}

// sample returns the state of a socket that has that congestion control.
func sample(fd int, at time.Duration, control string) (s Sample, err error) {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return s, err
	}
	s = Sample{
		At: at, Control: control, RTT: time.Duration(info.Rtt) * time.Microsecond,
		Rate: info.Delivery_rate, Acked: info.Bytes_acked, Segments: info.Segs_out,
		Resent:  info.Total_retrans,
		NotSent: info.Notsent_bytes, MSS: info.Snd_mss, Window: info.Snd_cwnd,
		Received: info.Rcv_space, Offered: info.Rcv_ssthresh,
	}
	if info.Min_rtt != unlimited {
		s.MinRTT = time.Duration(info.Min_rtt) * time.Microsecond
	}
	if control == bbr {
		if state, err := unix.GetsockoptTCPCCBBRInfo(fd, unix.IPPROTO_TCP,
			unix.TCP_CC_INFO); err == nil {
			s.Bandwidth = uint64(state.Bw_hi)<<32 | uint64(state.Bw_lo)
			s.Gain = state.Pacing_gain
		}
	}
	if s.wide() {
		s.SendBuffer, s.RecvBuffer = bufferSize(fd, unix.SO_SNDBUF), bufferSize(fd, unix.SO_RCVBUF)
	}
	return s, nil
}

// bufferSize returns the value of SO_SNDBUF or SO_RCVBUF, 0 if it is not known.
func bufferSize(fd, option int) int {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
	if err != nil {
		return 0
	}
	return n
}

// apply sets on the socket the settings that differ from before.
func (t *Tuner) apply(fd int, before Settings, s Sample) {
	if t.Unsent != before.Unsent {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, t.Unsent)
	}
	if t.Pace != before.Pace {
		rate := t.Pace
		if rate == 0 {
			rate = unlimited
		}
		// The kernel reads the value as unsigned.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, int(int32(rate)))
	}
	if t.Restart {
		t.setControl(fd, "reno") // every kernel has reno; setting bbr over bbr would change nothing
		t.setControl(fd, bbr)
	}
	if t.Send > s.SendBuffer || t.Receive > s.RecvBuffer {
		t.enlarge(fd, s)
	}
	switch {
	case t.congestion != CongestionAuto:
	case t.Control != "":
		t.setControl(fd, t.Control)
	default:
		t.setControl(fd, t.before)
	}
}

func (t *Tuner) setControl(fd int, control string) {
	if control == t.control || control == "" {
		return
	}
	if unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, control) == nil {
		t.control = control
	}
}

// enlarge grows the socket's buffers from the sizes in s towards those of the settings, as far as
// the allowance permits. Without CAP_NET_ADMIN they keep their sizes.
func (t *Tuner) enlarge(fd int, s Sample) {
	sends := t.grow(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, s.SendBuffer, t.Send)
	receives := t.grow(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, s.RecvBuffer, t.Receive)
	if receives {
		// Otherwise the kernel's former bound of the window stays, whatever the size of the buffer.
		// The kernel limits the value to what fits.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, t.Receive)
	}
	if sends || receives {
		// Close resets the connection from now on. Otherwise the kernel would keep the data in
		// flight for as long as the peer acknowledges a little at a time, after the allowance has
		// been given to others.
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
}

// grow enlarges a buffer of now bytes towards want, and reports whether it has grown.
func (t *Tuner) grow(fd, force, size, now, want int) bool {
	if now == 0 || want <= now {
		return false
	}
	granted := t.allowance.Take(want - now)
	if granted == 0 {
		return false
	}
	grown := 0
	// The kernel doubles the value.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, (now+granted)/2) == nil {
		grown = min(max(bufferSize(fd, size)-now, 0), granted)
	}
	t.allowance.Give(granted - grown)
	t.taken += grown
	return grown > 0
}

// Release returns what the socket has taken from the allowance. The socket is closed.
func (t *Tuner) Release() {
	t.allowance.Give(t.taken)
	t.taken = 0
}

// Drained reports whether all bytes that were written to the socket longer than ago have certainly
// reached the peer: acknowledgments arrive, and no more is unacknowledged than is sent in that
// time.
func (t *Tuner) Drained(ago time.Duration) (drained bool) {
	_ = t.raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		if info.Unacked == 0 { // bytes are unsent then only if the peer has no room
			drained = info.Notsent_bytes == 0
			return
		}
		waiting := uint64(info.Notsent_bytes) + uint64(info.Unacked)*uint64(info.Snd_mss)
		drained = info.Retransmits == 0 &&
			time.Duration(info.Last_ack_recv)*time.Millisecond < ago &&
			waiting < info.Delivery_rate*uint64(ago/time.Millisecond)/1000
	})
	return drained
}

// HasCongestion reports whether this process may choose that congestion control.
func HasCongestion(name string) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name) == nil
}
