package tcp

import (
	"math"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// CoDel's parameters follow the path within bounds.
func TestQueueOfPath(t *testing.T) {
	for p, want := range map[path][2]time.Duration{
		{}:                                                     {100 * time.Millisecond, 5 * time.Millisecond},
		{rtt: time.Millisecond, lossy: true}:                   {100 * time.Millisecond, 5 * time.Millisecond},
		{rtt: time.Millisecond, grows: true}:                   {100 * time.Millisecond, 5 * time.Millisecond},
		{rtt: 40 * time.Millisecond}:                           {400 * time.Millisecond, 5 * time.Millisecond},
		{rtt: 40 * time.Millisecond, lossy: true}:              {400 * time.Millisecond, 30 * time.Millisecond},
		{rtt: 20 * time.Millisecond, grows: true}:              {500 * time.Millisecond, 5 * time.Millisecond},
		{rtt: 40 * time.Millisecond, lossy: true, grows: true}: {time.Second, 30 * time.Millisecond},
		{rtt: time.Second}:                                     {time.Second, 5 * time.Millisecond},
	} {
		target, interval := p.coDel()
		if got := [2]time.Duration{interval, target}; got != want {
			t.Errorf("%+v: interval and target %v, not %v", p, got, want)
		}
	}
}

// A path is lossy when one segment in two round trips gets lost, whatever its length, and as long as that is so.
func TestLosses(t *testing.T) {
	const mss = 1000
	s := Tuner{path: path{rtt: 100 * time.Millisecond}}
	info := unix.TCPInfo{Snd_mss: mss, Delivery_rate: 1000 * mss} // 100 segments within a round trip
	for i, test := range []struct {
		sent, lost uint32
		want       float64
	}{{0, 0, 0}, {1000, 0, 0}, {1000, 10, 1}, {1000, 2, 0.2}, {0, 0, 0}, {100, 0, 0}} {
		info.Segs_out += test.sent
		info.Total_retrans += test.lost
		if got := s.losses(&info); math.Abs(got-test.want) > 0.001 {
			t.Errorf("look %d: %v losses within a round trip; want %v", i, got, test.want)
		}
	}
}
