package wan

import (
	"testing"
	"time"
)

// send offers n frames of size bytes, the first at begin and each step after the one before, and
// returns which the line kept.
func send(l *line, n, size int, begin, step time.Duration) (kept []bool) {
	for i := range n {
		kept = append(kept, l.offer(begin+time.Duration(i)*step, make([]byte, size)))
	}
	return kept
}

// arrivals returns when the frames on the way arrive.
func arrivals(l *line) (at []time.Duration) {
	for {
		due, any := l.next()
		if !any {
			return at
		}
		if _, _, ok := l.arrive(due - 1); ok {
			return append(at, -1) // before its time
		}
		if _, _, ok := l.arrive(due); !ok {
			return append(at, -1) // not at its time
		}
		at = append(at, due)
	}
}

func TestPaceAndDelay(t *testing.T) {
	t.Parallel()
	var l line
	l.set(Link{Rate: 8_000_000, Delay: 20 * time.Millisecond}) // 1 byte a microsecond
	send(&l, 3, 1000, time.Second, 0)
	send(&l, 1, 1000, 2*time.Second, 0) // the line has fallen idle in between
	want := []time.Duration{1021, 1022, 1023, 2021}
	got := arrivals(&l)
	if len(got) != len(want) {
		t.Fatalf("arrivals %v", got)
	}
	for i := range want {
		if got[i] != want[i]*time.Millisecond {
			t.Errorf("frame %d arrives at %v, want %v ms", i, got[i], want[i])
		}
	}
	if l.stats != (Stats{Passed: 4, Bytes: 4000}) {
		t.Errorf("%+v", l.stats)
	}
}

func TestQueueLimit(t *testing.T) {
	t.Parallel()
	var l line
	l.set(Link{Rate: 8_000_000, Queue: 5000})
	if kept := count(send(&l, 10, 1000, 0, 0)); kept != 5 {
		t.Errorf("%d frames of 1000 bytes in a queue of 5000", kept)
	}
	if kept := count(send(&l, 10, 1000, 2*time.Millisecond, 0)); kept != 2 {
		t.Errorf("%d frames after two have left, want 2", kept)
	}
	if l.stats.Dropped != 13 {
		t.Errorf("%d dropped, want 13", l.stats.Dropped)
	}
	// One frame must always fit, or a small queue would be a closed line.
	l = line{}
	l.set(Link{Rate: 8_000_000, Queue: 10})
	if kept := count(send(&l, 2, 1000, 0, 0)); kept != 1 {
		t.Errorf("%d frames in a queue smaller than one", kept)
	}
}

// Twice the rate for ten seconds: exactly what the rate allows arrives, and the standing queue is
// its limit.
func TestOverload(t *testing.T) {
	t.Parallel()
	var l line
	l.set(Link{Rate: 100_000_000, Delay: 20 * time.Millisecond, Queue: 500_000})
	const size, n = 1250, 160_000
	step := 50 * time.Microsecond // 200 Mbit/s
	var passed int
	var worst time.Duration
	for i := range n {
		now := time.Duration(i) * step
		l.offer(now, make([]byte, size))
		if f := l.flight.last(); f != nil {
			worst = max(worst, f.due-now)
		}
		for {
			if _, _, ok := l.arrive(now); !ok {
				break
			}
			passed++
		}
	}
	// The last look is at 7.99995 s; less the delay, at 10 000 frames a second.
	if want := 79_799; passed != want {
		t.Errorf("%d frames passed, want %d", passed, want)
	}
	if want := 60 * time.Millisecond; worst != want { // 500 KB at 100 Mbit/s take 40 ms
		t.Errorf("the worst delay was %v, want %v", worst, want)
	}
}

func TestLossFollowsTheSeed(t *testing.T) {
	t.Parallel()
	fate := func(seed, direction uint64, rate int64) []bool {
		l := line{direction: direction}
		l.set(Link{Rate: rate, Loss: 0.01, Seed: seed})
		return send(&l, 50_000, 100, 0, time.Microsecond)
	}
	same := func(a, b []bool) bool {
		for i := range a {
			if a[i] != b[i] {
				return false
			}
		}
		return true
	}
	first := fate(1, 0, 0)
	if !same(first, fate(1, 0, 1_000_000_000)) {
		t.Error("the same seed, another fate")
	}
	if same(first, fate(2, 0, 0)) || same(first, fate(1, 1, 0)) {
		t.Error("another seed or direction, the same fate")
	}
	if lost := len(first) - count(first); lost < 400 || lost > 600 {
		t.Errorf("%d of 50000 lost at 1 %%", lost)
	}
	l := line{}
	l.set(Link{Loss: 1})
	arp := make([]byte, 42)
	arp[12], arp[13] = 0x08, 0x06
	if !l.offer(0, arp) || l.offer(0, make([]byte, 42)) {
		t.Error("with all lost, ARP must pass and nothing else")
	}
}

func TestHoleAndPlug(t *testing.T) {
	t.Parallel()
	var l line
	l.set(Link{Delay: time.Millisecond})
	send(&l, 2, 100, 0, 0)
	l.link.Hole = true
	send(&l, 3, 100, 0, 0)
	for range 2 {
		if _, deliver, ok := l.arrive(time.Second); deliver || !ok {
			t.Error("a frame on its way came through a hole")
		}
	}
	l.link.Hole, l.unplugged = false, true
	send(&l, 1, 100, time.Second, 0)
	l.unplugged = false
	send(&l, 1, 100, time.Second, 0)
	if _, deliver, ok := l.arrive(2 * time.Second); !deliver || !ok {
		t.Error("nothing passes after the hole")
	}
	if l.stats != (Stats{Passed: 1, Bytes: 100, Holed: 6}) {
		t.Errorf("%+v", l.stats)
	}
}

func TestShorterDelayKeepsOrder(t *testing.T) {
	t.Parallel()
	var l line
	l.set(Link{Delay: time.Second})
	send(&l, 1, 100, 0, 0)
	l.set(Link{Delay: time.Millisecond})
	send(&l, 1, 200, 0, 0)
	if data, _, _ := l.arrive(time.Second); len(data) != 100 {
		t.Errorf("%d bytes came first", len(data))
	}
	if data, _, _ := l.arrive(time.Second); len(data) != 200 {
		t.Errorf("%d bytes came second", len(data))
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	var l line
	l.set(Link{Rate: 1_000_000_000, Delay: time.Millisecond, Loss: 0.1})
	data, now := make([]byte, 1500), time.Duration(0)
	step := func() {
		now += 12 * time.Microsecond
		l.offer(now, data)
		l.arrive(now)
	}
	for range 1000 {
		step()
	}
	if n := testing.AllocsPerRun(1000, step); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}

func count(kept []bool) (n int) {
	for _, k := range kept {
		if k {
			n++
		}
	}
	return n
}
