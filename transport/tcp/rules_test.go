package tcp

import (
	"math"
	"testing"
	"time"
)

// The parameters of CoDel follow the path within bounds.
func TestCoDel(t *testing.T) {
	type path struct {
		rtt          time.Duration
		lossy, grows bool
	}
	for p, want := range map[path][2]time.Duration{
		{}: {100 * time.Millisecond,
			5 * time.Millisecond},
		{rtt: time.Millisecond, lossy: true}: {100 * time.Millisecond,
			5 * time.Millisecond},
		{rtt: time.Millisecond, grows: true}: {100 * time.Millisecond,
			5 * time.Millisecond},
		{rtt: 40 * time.Millisecond}: {400 * time.Millisecond,
			5 * time.Millisecond},
		{rtt: 40 * time.Millisecond, lossy: true}: {400 * time.Millisecond,
			30 * time.Millisecond},
		{rtt: 20 * time.Millisecond, grows: true}: {500 * time.Millisecond,
			5 * time.Millisecond},
		{rtt: 40 * time.Millisecond, lossy: true, grows: true}: {time.Second,
			30 * time.Millisecond},
		{rtt: time.Second}: {time.Second, 5 * time.Millisecond},
	} {
		target, interval := coDel(p.rtt, p.lossy, p.grows)
		if got := [2]time.Duration{interval, target}; got != want {
			t.Errorf("%+v: interval and target %v, not %v", p, got, want)
		}
	}
}

// A path is lossy when one segment in two round trips gets lost, whatever its length, and as long
// as that is so.
func TestLosses(t *testing.T) {
	const mss = 1000
	m := memory{rtt: 100 * time.Millisecond}
	s := Sample{MSS: mss, Rate: 1000 * mss} // 100 segments within a round trip
	for i, test := range []struct {
		sent, lost uint32
		want       float64
	}{{0, 0, 0}, {1000, 0, 0}, {1000, 10, 1}, {1000, 2, 0.2}, {0, 0, 0}, {100, 0, 0}} {
		s.Segments += test.sent
		s.Resent += test.lost
		if got := m.losses(s); math.Abs(got-test.want) > 0.001 {
			t.Errorf("look %d: %v losses within a round trip; want %v", i, got, test.want)
		}
	}
}

// The unsent bytes in the kernel, a message and a record follow the rate of the path, within
// bounds.
func TestWorth(t *testing.T) {
	const mbit = 1e6 / 8
	for _, test := range []struct {
		rate                    uint64 // bytes a second
		unsent, message, record int
	}{
		{0, 32 << 10, 32 << 10, 2 << 10},
		{10 * mbit, 32 << 10, 32 << 10, 2 << 10},
		{50 * mbit, 32 << 10, 32 << 10, 8125},
		{100 * mbit, 37500, 32 << 10, 16250},
		{300 * mbit, 112500, 93750, 16 << 10},
		{10000 * mbit, 128 << 10, 192 << 10, 16 << 10},
	} {
		for what, size := range map[string]struct{ got, want int }{
			"unsent":  {unsentBytes(test.rate), test.unsent},
			"message": {messageSize(test.rate), test.message},
			"record":  {recordSize(test.rate, longPath), test.record},
		} {
			if size.got != size.want {
				t.Errorf("%d B/s: %s of %d bytes; want %d", test.rate, what, size.got, size.want)
			}
		}
	}
}

// fat describes a path that is cut short by the kernel's usual buffers: 2 × 2,900 segments of 1,448
// bytes may be under way, and 3 MB came within a round trip.
func fat(send, receive int) Sample {
	return Sample{MSS: 1448, Window: 5800, Received: 3 << 20, Offered: 4 << 20, SendBuffer: send,
		RecvBuffer: receive, MinRTT: 100 * time.Millisecond}
}

// Buffers follow the path where they hold it up, and nowhere else.
func TestBuffers(t *testing.T) {
	t.Parallel()
	const usualSend, usualRecv = 4 << 20, 6 << 20
	local := fat(usualSend, usualRecv)
	local.MinRTT = longPath - 1
	for name, test := range map[string]struct {
		s             Sample
		send, receive int
	}{
		"new": {Sample{MinRTT: time.Second, Window: 10, MSS: 1448,
			Received: 14600, Offered: 64 << 10, SendBuffer: 16 << 10, RecvBuffer: 128 << 10}, 0, 0},
		"100 Mbit/s, 40 ms": {Sample{MinRTT: time.Second, Window: 1000 * 7 / 10, MSS: 1448,
			Received: 500 << 10, Offered: 1 << 20, SendBuffer: usualSend, RecvBuffer: usualRecv}, 0,
			0},
		"both ways": {fat(usualSend, usualRecv), maxBuffer, 24 << 20},
		"a little": {Sample{MinRTT: time.Second, Window: 1500, MSS: 1448,
			SendBuffer: usualSend, RecvBuffer: usualRecv}, 4 * 1500 * 1448, 0},
		"enough": {fat(24<<20, maxBuffer), 0, 0},
		"a window that suffices": {Sample{MinRTT: time.Second, Received: 3 << 20,
			Offered: 6 << 20, SendBuffer: usualSend, RecvBuffer: usualRecv}, 0, 0},
		"a window of no use": {Sample{MinRTT: time.Second, Window: 1 << 31, MSS: 1448,
			Received: 1 << 30, SendBuffer: usualSend, RecvBuffer: usualRecv}, maxBuffer, maxBuffer},
		"larger than it would take": {fat(8<<20, 64<<20), maxBuffer, 0},
		"a local network":           {local, 0, 0},
		"sizes are not known":       {fat(0, 0), 0, 0},
	} {
		if send, receive := buffers(test.s, test.s.MinRTT); send != test.send ||
			receive != test.receive {
			t.Errorf("%s: %d, %d; want %d, %d", name, send, receive, test.send, test.receive)
		}
		if (test.send > 0 || test.receive > 0) && !test.s.wide() {
			t.Errorf("%s: the sizes are not asked for", name)
		}
	}
}
