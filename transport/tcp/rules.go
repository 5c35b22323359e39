package tcp

import "time"

// Each rule says which symptom it cures, where that comes from, what it brought, and how to measure
// it again. docs/PERFORMANCE.md has the figures in full; "the line" is 100 Mbit/s, 40 ms, 1 % loss.

// bytesIn returns how many bytes a path of that rate takes in d, between bounds.
func bytesIn(rate uint64, d time.Duration, least, most uint64) int {
	return int(min(max(rate*uint64(d)/uint64(time.Second), least), most))
}

// Message size. Symptom: a packet of another flow waits for its turn until the message under way is
// written. Source: a message is one frame, and cannot be interrupted. Figure: 2.5 ms of the rate
// instead of 5 took a ping beside four streams on the line from 90 to 86 ms. Again: make bench
// BENCH='-only wan1'.
const (
	messageTime = 2500 * time.Microsecond
	minMessage  = 32 << 10
	// with one more packet of the largest size a message stays in the second-level cache
	maxMessage = 192 << 10
)

// MinMessage and MaxMessage bound Settings.Message, in bytes.
const (
	MinMessage = minMessage
	MaxMessage = maxMessage
)

func messageSize(rate uint64) int { return bytesIn(rate, messageTime, minMessage, maxMessage) }

// Unsent bytes. Symptom: the kernel's queue is a FIFO in which all flows wait for each other.
// Source: without TCP_NOTSENT_LOWAT the kernel takes whatever the buffer holds. Figure: 3 ms of the
// rate, where 32 KiB are less, took the ping from 91 ms to 86. Again: as above.
const (
	unsentTime = 3 * time.Millisecond
	minUnsent  = 32 << 10
	maxUnsent  = 128 << 10
	// A socket that has less than backlog bytes to send is at rest: it shows less than the path can
	// do.
	backlog = minUnsent / 4
)

func unsentBytes(rate uint64) int { return bytesIn(rate, unsentTime, minUnsent, maxUnsent) }

// Record size. Symptom: at 10 Mbit/s the last byte of a record of 16 KiB comes 13 ms after the
// first, and the first is of no use before. Source: RFC 8446 section 5.2, a record is authenticated
// as a whole. Figure: with 2 KiB the ping beside four streams over wss:// went from 118 to 108 ms,
// for 1 % of the goodput. Again: e2e/wan with a link of 10 Mbit/s, as docs/PERFORMANCE.md says.
const (
	recordTime = 1300 * time.Microsecond
	minRecord  = 2 << 10
	// maxRecord is the most bytes that a TLS record carries (RFC 8446 section 5.1).
	maxRecord = 16 << 10
)

func recordSize(rate uint64, rtt time.Duration) int {
	if rtt < longPath { // the processor is the limit
		return maxRecord
	}
	return bytesIn(rate, recordTime, minRecord, maxRecord)
}

// CoDel. Symptom: with RFC 8289's 100 ms flows inside lose packets before they have heard of the
// last loss, and leave the path empty. Source: BBR sends next to nothing for five round trips every
// ten seconds (PROBE_RTT), and a queue that has grown meanwhile says nothing; a sender inside needs
// one or two to hear of a drop, one more for each segment that the connection underneath sends
// again, and slows down by a third for each drop that it hears of. While BBR still finds room, a
// loss inside costs seconds. Where nearly everything waits at the other end for a segment that was
// lost, a round trip inside takes two of the path's; a sender that has slowed down by a third
// leaves the path empty, if it had no queue nearly as long as the path. Nobody else waits for that:
// each flow has a queue of its own. Figure: ten round trips instead of five brought 81 to 83 Mbit/s
// on the line. Again: make bench BENCH='-only wan1'.
const (
	minTarget    = 5 * time.Millisecond   // RFC 8289 section 4.4
	minInterval  = 100 * time.Millisecond // RFC 8289 section 4.3
	maxInterval  = time.Second
	intervalRTTs = 10
	growingRTTs  = 25 // while the path's rate still grows
)

func coDel(rtt time.Duration, lossy, grows bool) (target, interval time.Duration) {
	rtts := time.Duration(intervalRTTs)
	if grows {
		rtts = growingRTTs
	}
	target, interval = minTarget, min(max(rtts*rtt, minInterval), maxInterval)
	if lossy {
		target = max(rtt*3/4, minTarget)
	}
	return target, interval
}

// Coalescing on receive. Symptom: TCP senders inside end their slow start early. Source: HyStart
// takes a train of acknowledgments less than 2 ms apart, half a round trip long, for a full path
// (hystart_ack_delta_us in net/ipv4/tcp_cubic.c), while it is only the pace of the connection
// underneath. See coalesce.go. Again: make bench BENCH='-only wan0', the second stream.
const coalesceRTT = 25 * time.Millisecond // coalesceTime is little beside it

// Buffers. Symptom: 210 Mbit/s over 100 ms, whatever the path. Source: the kernel's buffers grow up
// to tcp_wmem and tcp_rmem, 4 and 6 MiB; a socket is writable while no more than two thirds of its
// buffer are taken (sk_stream_is_writeable in include/net/sock.h), and bookkeeping takes a third to
// a half of a buffer. Twice as much again, for the window doubles within a round trip, and a
// segment that is lost costs one. Figure: docs/PERFORMANCE.md, on long paths. Again: make bench
// BENCH='-only fat'.
const (
	maxBuffer = 32 << 20 // bytes
	// wideFrom is how many bytes a path must carry within a round trip for its buffers to be looked
	// at.
	wideFrom = 1 << 20
)

// wide reports whether the path carries so much that its buffers have to be looked at.
func (s *Sample) wide() bool { return s.window() >= wideFrom || s.Received >= wideFrom }

// window returns how many bytes the congestion control lets be under way, maxBuffer at most.
func (s *Sample) window() int { return int(min(uint64(s.Window)*uint64(s.MSS), maxBuffer)) }

// buffers returns the sizes that the buffers should have, 0 where they suffice. On a local network
// the kernel's are enough.
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
