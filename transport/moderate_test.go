package transport

import (
	"math"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// On a long path what comes in quick succession waits until holdTime after the first of it; a little does not, and nothing
// does on a short path.
func TestModeration(t *testing.T) {
	var m moderation
	m.setPath(path{rtt: holdRTT - 1})
	m.got(1 << 20)
	if m.wait(); m.bytes != 0 || !m.began.IsZero() {
		t.Errorf("a short path is moderated: %d bytes since %v", m.bytes, m.began)
	}
	m.setPath(path{rtt: holdRTT})
	m.got(holdAfter - 1)
	began := m.began
	if m.wait(); m.bytes != holdAfter-1 {
		t.Error("a little had to wait")
	}
	for time.Since(began) <= holdTime {
		time.Sleep(time.Millisecond)
	}
	m.got(1) // another time
	if m.bytes != 1 || !m.began.After(began) {
		t.Errorf("%d bytes are counted since %v", m.bytes, m.began.Sub(began))
	}
	m.got(holdAfter)
	began = m.began
	if m.wait(); time.Since(began) < holdTime || m.bytes != 0 {
		t.Errorf("much was let through after %v", time.Since(began))
	}
	m.got(holdUpTo)
	if m.wait(); m.bytes != holdUpTo {
		t.Error("a full buffer had to wait")
	}
}

// CoDel's parameters follow the path within bounds.
func TestQueueOfPath(t *testing.T) {
	q := NewQueue(1)
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
		q.setPath(p)
		if got := [2]time.Duration{time.Duration(q.interval), time.Duration(q.target)}; got != want {
			t.Errorf("%+v: interval and target %v, not %v", p, got, want)
		}
	}
}

// A path is lossy when one segment in two round trips gets lost, whatever its length, and as long as that is so.
func TestLosses(t *testing.T) {
	const mss = 1000
	s := socket{path: path{rtt: 100 * time.Millisecond}}
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
