package tcp

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/transport/fq"
)

// CongestionAuto lets the path decide on the congestion control. On a long path that is BBR: it
// takes no random loss for congestion, and this one connection carries every flow inside. On a
// local network nothing gets lost at random, and the system's default costs less.
const CongestionAuto = "auto"

// maxRTO is the longest time between two attempts of the kernel to get bytes across; no path takes
// so long there and back.
const maxRTO = 3 * time.Second

// A Tuner samples a socket now and then, and puts into force what follows: see decide. One
// goroutine uses it at a time, but for Drained.
type Tuner struct {
	Settings
	raw        syscall.RawConn
	congestion string // what is wanted; CongestionAuto, "" for the system's default
	before     string // the system's default
	control    string // what is set
	began      time.Time
	memory     memory
	look       func(fd uintptr) // lookAt; a closure made anew for each call would be garbage

	allowance *fq.Allowance // of the buffers; nil before Start
	taken     int           // bytes of it
}

// NewTuner returns the tuner of a connection's socket.
func NewTuner(w *Conn, congestion string) *Tuner {
	t := &Tuner{raw: w.raw, congestion: congestion, began: time.Now(), memory: start()}
	t.Settings, t.look = t.memory.Settings, t.lookAt
	return t
}

// Start sets what a connection needs that lives by this keepalive, and whose buffers may take that
// allowance, nil for none. Errors are ignored: an old kernel, or one that keeps a congestion
// control to root, does with its own.
func (t *Tuner) Start(keepalive time.Duration, a *fq.Allowance) {
	t.allowance = a
	_ = t.raw.Control(func(raw uintptr) {
		fd := int(raw)
		// What was sent and is not acknowledged for so long never will be.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT,
			int(2*keepalive/time.Millisecond))
		// After an outage the kernel tries again soon, not after as long as the outage was (Linux
		// 6.15).
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

// Look samples the socket if that is due, puts the settings into force that are the socket's own,
// and reports whether others have changed.
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
	s, err := sample(fd, time.Since(t.began), t.control)
	if err != nil {
		return
	}
	before := t.Settings
	t.memory, t.Settings = decide(t.memory, s)
	t.apply(fd, before, s)
}

// apply puts the settings into force that differ from those before.
func (t *Tuner) apply(fd int, before Settings, s Sample) {
	if t.Unsent != before.Unsent {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, t.Unsent)
	}
	if t.Pace != before.Pace {
		rate := t.Pace
		if rate == 0 {
			rate = unlimited
		}
		// The kernel takes it for unsigned again.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, int(int32(rate)))
	}
	if t.Restart {
		t.setControl(fd, "reno") // every kernel has it; the same again would change nothing
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

// enlarge has the socket's buffers, whose sizes s has, grow towards what the settings want, as far
// as the allowance goes. Without CAP_NET_ADMIN they stay.
func (t *Tuner) enlarge(fd int, s Sample) {
	sends := t.grow(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, s.SendBuffer, t.Send)
	receives := t.grow(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, s.RecvBuffer, t.Receive)
	if receives {
		// It stays where the kernel's bound was otherwise, whatever the buffer is. The kernel takes
		// no more than fits.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, t.Receive)
	}
	if sends || receives {
		// Close resets the connection from now on. Otherwise the kernel would keep what is in
		// flight for as long as the peer acknowledges a little of it, with the allowance given to
		// others.
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
}

// grow has a buffer of now bytes grow towards want, and reports whether it has grown.
func (t *Tuner) grow(fd, force, size, now, want int) bool {
	if now == 0 || want <= now {
		return false
	}
	granted := t.allowance.Take(want - now)
	if granted == 0 {
		return false
	}
	grown := 0
	// The kernel doubles what it is given.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, (now+granted)/2) == nil {
		grown = min(max(bufferSize(fd, size)-now, 0), granted)
	}
	t.allowance.Give(granted - grown)
	t.taken += grown
	return grown > 0
}

// Release gives back what the socket, which is closed, has taken of the allowance.
func (t *Tuner) Release() {
	t.allowance.Give(t.taken)
	t.taken = 0
}

// Drained reports whether what was given to the socket longer ago than that has reached the peer
// for certain: there is progress, and no more is under way than is sent in that time.
func (t *Tuner) Drained(ago time.Duration) (drained bool) {
	_ = t.raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		if info.Unacked == 0 { // what is not sent then is what the peer has no room for
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
