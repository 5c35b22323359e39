package tcp

import (
	"time"

	"tunnel/packet"
	"tunnel/transport/fq"
)

// The comment on each rule gives the symptom that the rule removes, the source of the symptom, a
// figure for the effect, and how to measure again. docs/PERFORMANCE.md has the figures in full;
// "the 1 % link" there and here is one of 100 Mbit/s, 40 ms and 1 % random loss.

// bytesIn returns how many bytes that rate carries in d, within bounds.
func bytesIn(rate uint64, d time.Duration, least, most uint64) int {
	return int(min(max(rate*uint64(d)/uint64(time.Second), least), most))
}

// Message size. Symptom: a packet of another flow waits until the present message is written.
// Source: a message is one frame and cannot be interrupted. Figure: with messages of 2.5 ms of the
// rate instead of 5, a ping beside four streams on the 1 % link took 86 ms instead of 90. Measure
// again: make bench BENCH='-only wan1'.
const (
	messageTime = 2500 * time.Microsecond
	MinMessage  = 32 << 10 // the minimum of Settings.Message, in bytes
	maxMessage  = packet.UsualBatch
)

func messageSize(rate uint64) int { return bytesIn(rate, messageTime, MinMessage, maxMessage) }

// Unsent bytes. Symptom: all flows wait behind each other in the kernel's send buffer, a FIFO.
// Source: without TCP_NOTSENT_LOWAT the kernel accepts bytes until the send buffer is full. Figure:
// with at most 3 ms of the rate unsent, but no less than 32 KiB, the same ping took 86 ms instead
// of 91. Measure again: as above.
const (
	unsentTime = 3 * time.Millisecond
	minUnsent  = 32 << 10
	maxUnsent  = 128 << 10
	// A socket with fewer than backlog unsent bytes is idle: its delivery rate is below what the
	// path can carry.
	backlog = minUnsent / 4
)

func unsentBytes(rate uint64) int { return bytesIn(rate, unsentTime, minUnsent, maxUnsent) }

// Record size. Symptom: at 10 Mbit/s the last byte of a record of 16 KiB arrives 13 ms after the
// first, and TLS delivers none of them before. Source: a record is authenticated as a whole (RFC
// 8446 section 5.2). Figure: with records of 2 KiB, a ping beside four streams over wss:// took 108
// ms instead of 118, for 1 % of the goodput. Measure again: e2e/wan with a link of 10 Mbit/s.
const (
	recordTime = 1300 * time.Microsecond
	minRecord  = 2 << 10
	// maxRecord is the maximum payload of a TLS record, in bytes (RFC 8446 section 5.1).
	maxRecord = 16 << 10
)

func recordSize(rate uint64, rtt time.Duration) int {
	if rtt < longPath { // the processor is the limit
		return maxRecord
	}
	return bytesIn(rate, recordTime, minRecord, maxRecord)
}

// CoDel's interval. Symptom: with the 100 ms of RFC 8289, TCP senders inside lose packets again
// before they have reacted to the last loss, and then leave the path idle. Source: every ten
// seconds BBR sends almost nothing for about five round trips (PROBE_RTT), and the queue that grows
// meanwhile is no sign of congestion. Also, a sender inside needs one or two round trips to detect
// a drop, and one more for each segment that the outer connection retransmits. It slows down by a
// third for each drop. Figure: with ten round trips instead of five, the first and second stream
// down had 83 and 81 Mbit/s on the 1 % link instead of 81 and 78.
//
// CoDel's interval while BBR's rate grows. Symptom: one drop inside costs seconds of throughput.
// Source: the sender slows down although the path has room. Figure: one stream down had 82.5 Mbit/s
// on the 1 % link instead of 72.
//
// CoDel's target on a lossy path. Symptom: senders inside leave the path idle after a drop. Source:
// most segments wait at the receiver for a retransmission, so a round trip inside takes two of the
// path's. A sender that slows down by a third then needs a queue nearly as long as the path to keep
// it busy. Other flows do not wait for that queue: each flow has its own. Figure: together with
// BBR's restart, 83 and 82 Mbit/s up and down on the 1 % link instead of 81.5 and 75.
//
// Measure again: make bench BENCH='-only wan1'.
const (
	maxInterval  = time.Second
	intervalRTTs = 10
	growingRTTs  = 25 // while BBR's rate grows
)

func coDel(rtt time.Duration, lossy, grows bool) (target, interval time.Duration) {
	rtts := time.Duration(intervalRTTs)
	if grows {
		rtts = growingRTTs
	}
	target, interval = fq.MinTarget, min(max(rtts*rtt, fq.MinInterval), maxInterval)
	if lossy {
		target = max(rtt*3/4, fq.MinTarget)
	}
	return target, interval
}

// Coalescing on receive. Symptom: TCP senders inside end slow start early. Source: HyStart takes
// acknowledgments less than 2 ms apart, for half a round trip, as a sign of a full path
// (hystart_ack_delta_us in net/ipv4/tcp_cubic.c); here they are the effect of the outer
// connection's pacing. See coalesce.go. Figure: together with merging on long paths, CoDel's longer
// interval and the bound of BBR's pace, streams up and down had 67 and 80 Mbit/s on the 1 % link
// instead of 24 and 27. Measure again: make bench BENCH='-only wan1'.
//
// coalesceRTT is the round trip from which reads are coalesced: ten times coalesceTime, so that the
// wait adds little. Figure: without it 59 and 62 Mbit/s instead of 78 and 78.
const coalesceRTT = 25 * time.Millisecond

// Buffers. Symptom: at most 210 Mbit/s over 100 ms, however fast the path. Source: the kernel grows
// buffers only up to tcp_wmem and tcp_rmem, 4 and 6 MiB. A socket is writable only while at most
// two thirds of its buffer are used (sk_stream_is_writeable in include/net/sock.h), and the
// kernel's bookkeeping takes a third to a half of a buffer. The sizes here include another factor
// of two: the window may double within a round trip, and a lost segment costs one. Figure: on 500
// Mbit/s with 100 ms, one stream up and four down had 225 and 318 Mbit/s instead of 193 and 188.
// Measure again: make bench BENCH='-only fat0'.
const (
	maxBuffer = 32 << 20 // bytes
	// wideFrom is how many bytes a path must carry within a round trip before the rule applies.
	// Figure: with 16 KiB the round trip under four streams was 129 ms instead of 113.
	wideFrom = 1 << 20
)

// wide reports whether the path carries enough for the rule of buffers.
func (s *Sample) wide() bool { return s.window() >= wideFrom || s.Received >= wideFrom }

// window returns the congestion window in bytes, at most maxBuffer.
func (s *Sample) window() int { return int(min(uint64(s.Window)*uint64(s.MSS), maxBuffer)) }

// buffers returns the wanted sizes of the socket's buffers, 0 for a buffer that suffices. On a
// local network the kernel's sizes suffice.
func buffers(s Sample, rtt time.Duration) (send, receive int) {
	if rtt < longPath {
		return 0, 0
	}
	if w := s.window(); w >= wideFrom && s.SendBuffer > 0 && s.SendBuffer < min(2*w, maxBuffer) {
		send = min(4*w, maxBuffer)
	}
	received := int(min(s.Received, maxBuffer))
	if want := min(8*received, maxBuffer); received >= wideFrom && s.RecvBuffer > 0 &&
		s.RecvBuffer < want && int(s.Offered) < 2*received {
		receive = want
	}
	return send, receive
}
