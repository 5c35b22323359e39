package tcp

import (
	"time"

	"golang.org/x/sys/unix"
)

// BBR begins by sending at 2.9 times the rate that it has seen, until that has not grown by a quarter for three round
// trips (STARTUP in net/ipv4/tcp_bbr.c). Round trips in which the application was the limit do not count; and a socket
// that is given no more than it asks for (TCP_NOTSENT_LOWAT) nearly always looks like that. So BBR would stay there,
// overflow the queue of the narrowest link for ever, and lose a tenth of what it sends.
const (
	startupGain  = 512  // BBR's gains are in 1/256: above that it is in STARTUP
	fullGrowth   = 1.25 // the rate grows by less when the path is full
	fullRounds   = 3
	fullQueue    = 1.25 // and the round trip is longer than the shortest by this
	fullUse      = 0.5  // of the rate is sent by this socket, or its queue is that of others
	startupPace  = 1.1  // of the rate: enough for BBR to see a little more, and for the socket to have a backlog
	unlimited    = 1<<32 - 1
	startupEvery = 20 * time.Millisecond
)

// bandwidth returns the rate that BBR has seen, in bytes a second.
func bandwidth(bbr *unix.TCPBBRInfo) uint64 { return uint64(bbr.Bw_hi)<<32 | uint64(bbr.Bw_lo) }

// startup is what is known of BBR's STARTUP on one socket.
type startup struct {
	over   bool
	looked time.Time
	best   uint64 // bytes a second
	since  time.Time
	acked  uint64 // bytes, at that time
	capped bool
}

// watch holds the pace of the socket back once the path is full, until BBR has seen that as well. It costs two system
// calls now and then while BBR is in STARTUP, and nothing after.
func (u *startup) watch(fd int, now time.Time) {
	if u.over || now.Sub(u.looked) < startupEvery {
		return
	}
	u.looked = now
	bbr, err := unix.GetsockoptTCPCCBBRInfo(fd, unix.IPPROTO_TCP, unix.TCP_CC_INFO)
	if err != nil {
		u.over = true
		return
	}
	if bbr.Pacing_gain <= startupGain && u.capped {
		_ = pace(fd, unlimited)
		u.over = true
		return
	}
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil || info.Min_rtt == 0 {
		return
	}
	rate := bandwidth(bbr)
	if float64(rate) >= fullGrowth*float64(u.best) || float64(info.Rtt) < fullQueue*float64(info.Min_rtt) {
		u.mark(rate, info, now)
		return
	}
	passed := now.Sub(u.since)
	if passed <= fullRounds*time.Duration(info.Rtt)*time.Microsecond {
		return
	}
	if float64(info.Bytes_acked-u.acked) < fullUse*float64(rate)*passed.Seconds() {
		u.mark(rate, info, now) // others fill the path
		return
	}
	u.capped = pace(fd, uint32(min(startupPace*float64(rate), unlimited))) == nil
}

// pace bounds what the socket sends, in bytes a second.
func pace(fd int, rate uint32) error {
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, int(int32(rate))) // the kernel takes it for unsigned again
}

// mark begins anew to look whether the rate grows.
func (u *startup) mark(rate uint64, info *unix.TCPInfo, now time.Time) {
	u.best, u.acked, u.since = max(rate, u.best), info.Bytes_acked, now
}
