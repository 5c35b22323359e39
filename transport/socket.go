package transport

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// CongestionAuto lets the path decide on the congestion control: see socket.adapt.
const CongestionAuto = "auto"

const (
	// The kernel may have bytes for about unsentTime that it has not sent (TCP_NOTSENT_LOWAT): what is beyond waits in the Queue,
	// which is fair.
	unsentTime = 3 * time.Millisecond
	minUnsent  = 32 << 10
	maxUnsent  = 128 << 10
	// maxRTO is the longest time between two attempts of the kernel to get bytes across; no way takes so long there and
	// back.
	maxRTO = 3 * time.Second
	// lanRTT tells a local network from a longer way.
	lanRTT = 2 * time.Millisecond
	// adaptEvery is how often the path is looked at.
	adaptEvery = 250 * time.Millisecond
	// manyLost is how many segments a path loses within a round trip for nearly everything to wait, at its end, for one that
	// has to be sent again.
	manyLost = 0.5
	// A message takes about messageTime to send, so that a packet of another flow need not wait longer for its turn.
	messageTime = 2500 * time.Microsecond
	minBudget   = 32 << 10
	maxBudget   = 192 << 10 // with one more packet of the largest size a message stays in the second-level cache
	// On a long way a TLS record takes no longer than recordTime to send: nothing of it is of use before the last of it is there.
	recordTime = 1300 * time.Microsecond
	minRecord  = 2 << 10
)

// socket is the TCP socket under a connection and its settings.
type socket struct {
	raw        syscall.RawConn
	congestion string // what is wanted; CongestionAuto, "" for the system's default
	before     string // the system's default
	now        string // what is set
	looked     time.Time
	rate       uint64 // bytes a second, the most of late
	budget     int    // bytes of packets that go into one message
	record     int    // bytes of it that go into one TLS record
	unsent     int    // TCP_NOTSENT_LOWAT
	startup    startup
	rates      rates
	path       path
	lost, sent uint32 // segments so far, when the path was last looked at

	allowance *allowance // of the buffers; nil before Run
	taken     int        // bytes of it
}

// path is what is known of the way to the peer.
type path struct {
	rtt   time.Duration // the least round-trip time of the last minutes; 0 is not known
	lossy bool          // manyLost
	grows bool          // BBR still finds that it has room for more
}

// prepare sets what a connection needs that lives by this keepalive. Errors are ignored: an old kernel, or one that
// keeps a congestion control to root, does with its own.
func (s *socket) prepare(keepalive time.Duration) {
	_ = s.raw.Control(func(fd uintptr) {
		// What was sent and is not acknowledged for so long never will be.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(2*keepalive/time.Millisecond))
		// After an outage the kernel tries again soon, not after as long as the outage was (Linux 6.15).
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_RTO_MAX_MS, int(maxRTO/time.Millisecond))
		s.before, _ = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	})
	s.now, s.budget = s.before, minBudget
	s.leave(maxUnsent)
	if s.congestion != CongestionAuto && s.congestion != "" {
		s.set(s.congestion)
	}
}

// adapt looks at the path now and then: at its rate, for the size of messages, and for CongestionAuto at its round-trip
// time. On a long way that chooses BBR: it takes no random loss for congestion, and this one connection carries every flow
// inside. On a local network nothing gets lost at random, and the system's default costs less.
func (s *socket) adapt() {
	if s.now == "bbr" {
		_ = s.raw.Control(func(fd uintptr) { s.startup.watch(int(fd), time.Now()) })
	}
	if time.Since(s.looked) < adaptEvery {
		return
	}
	s.looked = time.Now()
	info, err := ask(s.raw, unix.GetsockoptTCPInfo, unix.TCP_INFO)
	if err != nil {
		return
	}
	if s.rate = max(info.Delivery_rate, s.rate/8*7); s.rate > 0 { // it is lower for a moment whenever something is sent again
		s.budget = s.worth(messageTime, minBudget, maxBudget)
		if info.Notsent_bytes >= backlog { // else that is not all that the path can do
			s.leave(s.worth(unsentTime, minUnsent, maxUnsent))
		}
	}
	if info.Min_rtt != unlimited { // known
		s.path.rtt = time.Duration(info.Min_rtt) * time.Microsecond
	}
	s.record = maxRecord
	if s.path.rtt >= lanRTT {
		s.record = s.worth(recordTime, minRecord, maxRecord)
	}
	s.path.lossy = s.losses(info) >= manyLost
	s.follow(info.Notsent_bytes)
	s.expand(info)
	if s.congestion != CongestionAuto {
		return
	}
	if s.path.rtt >= lanRTT {
		s.set("bbr")
	} else {
		s.set(s.before)
	}
}

// ask returns what the kernel says of a TCP socket to one of the unix.Getsockopt functions.
func ask[T any](raw syscall.RawConn, get func(fd, level, opt int) (*T, error), opt int) (answer *T, err error) {
	if failed := raw.Control(func(fd uintptr) { answer, err = get(int(fd), unix.IPPROTO_TCP, opt) }); failed != nil {
		return nil, failed
	}
	return answer, err
}

// worth returns how many bytes the path takes in d, between bounds.
func (s *socket) worth(d time.Duration, least, most uint64) int {
	return int(min(max(s.rate*uint64(d)/uint64(time.Second), least), most))
}

// leave lets the kernel have that many bytes that it has not sent.
func (s *socket) leave(n int) {
	if n == s.unsent {
		return
	}
	s.unsent = n
	_ = s.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, n) })
}

// follow follows what BBR knows of the path, and has it begin anew if it has forgotten.
func (s *socket) follow(notSent uint32) {
	s.path.grows = false
	if s.now != "bbr" {
		return
	}
	bbr, err := ask(s.raw, unix.GetsockoptTCPCCBBRInfo, unix.TCP_CC_INFO)
	if err != nil {
		return
	}
	if rate := bandwidth(bbr); rate > 0 { // else it has seen nothing yet
		s.rates.see(rate, s.looked)
		if s.rates.forgot(rate, notSent, s.looked) && bbr.Pacing_gain <= startupGain {
			s.set("reno") // every kernel has it; the same again would change nothing
			s.set("bbr")
			s.startup = startup{}
			s.rates.grew = s.looked
		}
	}
	s.path.grows = s.rates.grows(s.looked)
}

// losses returns how many segments were lost of late in each round trip.
func (s *socket) losses(info *unix.TCPInfo) float64 {
	lost, sent := info.Total_retrans-s.lost, info.Segs_out-s.sent
	s.lost, s.sent = info.Total_retrans, info.Segs_out
	if sent == 0 || info.Snd_mss == 0 {
		return 0
	}
	window := float64(info.Delivery_rate) * s.path.rtt.Seconds() / float64(info.Snd_mss)
	return window * float64(lost) / float64(sent)
}

// prompt tells whether what was given to the socket some time ago has reached the peer for certain: there is progress,
// and no more is under way than a moment's worth.
func (s *socket) prompt(moment time.Duration) bool {
	info, err := ask(s.raw, unix.GetsockoptTCPInfo, unix.TCP_INFO)
	if err != nil {
		return false
	}
	if info.Unacked == 0 { // what is not sent then is what the peer has no room for
		return info.Notsent_bytes == 0
	}
	waiting := uint64(info.Notsent_bytes) + uint64(info.Unacked)*uint64(info.Snd_mss)
	return info.Retransmits == 0 && time.Duration(info.Last_ack_recv)*time.Millisecond < moment &&
		waiting < info.Delivery_rate*uint64(moment/time.Millisecond)/1000
}

func (s *socket) set(congestion string) {
	if congestion == s.now || congestion == "" {
		return
	}
	_ = s.raw.Control(func(fd uintptr) {
		if unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, congestion) == nil {
			s.now = congestion
		}
	})
}

// HasCongestion tells whether this process may choose that congestion control.
func HasCongestion(name string) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name) == nil
}
