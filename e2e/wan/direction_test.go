package wan

import (
	"testing"
	"time"

	"tunnel/packet"
)

// plain returns a frame of size bytes, and its shape.
func plain(size int) (*packet.Packet, shape) {
	return packet.NewPacket(size), shape{segments: 1, last: size}
}

// send offers n frames of size bytes, the first at begin and each step after the one before, and
// returns which of them were kept.
func send(d *direction, n, size int, begin, step time.Duration) (kept []bool) {
	for i := range n {
		data, s := plain(size)
		kept = append(kept, d.offer(begin+time.Duration(i)*step, data, s))
	}
	return kept
}

// arrivals returns when the frames in flight arrive.
func arrivals(d *direction) (at []time.Duration) {
	for {
		due, any := d.next()
		if !any {
			return at
		}
		if _, _, ok := d.arrive(due - 1); ok {
			return append(at, -1) // early
		}
		if _, _, ok := d.arrive(due); !ok {
			return append(at, -1) // late
		}
		at = append(at, due)
	}
}

func TestPaceAndDelay(t *testing.T) {
	t.Parallel()
	var d direction
	d.set(Link{Rate: 8_000_000, Delay: 20 * time.Millisecond}) // 1 byte a microsecond
	send(&d, 3, 1000, time.Second, 0)
	send(&d, 1, 1000, 2*time.Second, 0) // the link was idle in between
	want := []time.Duration{1021, 1022, 1023, 2021}
	got := arrivals(&d)
	if len(got) != len(want) {
		t.Fatalf("arrivals %v", got)
	}
	for i := range want {
		if got[i] != want[i]*time.Millisecond {
			t.Errorf("frame %d arrives at %v, want %v ms", i, got[i], want[i])
		}
	}
	if d.stats != (Stats{Passed: 4, Bytes: 4000}) {
		t.Errorf("%+v", d.stats)
	}
}

func TestQueueLimit(t *testing.T) {
	t.Parallel()
	var d direction
	d.set(Link{Rate: 8_000_000, Queue: 5000})
	if kept := count(send(&d, 10, 1000, 0, 0)); kept != 5 {
		t.Errorf("%d frames of 1000 bytes in a queue of 5000", kept)
	}
	if kept := count(send(&d, 10, 1000, 2*time.Millisecond, 0)); kept != 2 {
		t.Errorf("%d frames after two have left, want 2", kept)
	}
	if d.stats.Dropped != 13 {
		t.Errorf("%d dropped, want 13", d.stats.Dropped)
	}
	// One frame must always fit, or a small queue would let nothing pass.
	d = direction{}
	d.set(Link{Rate: 8_000_000, Queue: 10})
	if kept := count(send(&d, 2, 1000, 0, 0)); kept != 1 {
		t.Errorf("%d frames in a queue smaller than one", kept)
	}
}

// At twice the rate for ten seconds, exactly the rate arrives, and the standing queue is at its
// limit.
func TestOverload(t *testing.T) {
	t.Parallel()
	var d direction
	d.set(Link{Rate: 100_000_000, Delay: 20 * time.Millisecond, Queue: 500_000})
	const size, n = 1250, 160_000
	step := 50 * time.Microsecond // 200 Mbit/s
	var passed int
	var worst time.Duration
	for i := range n {
		now := time.Duration(i) * step
		data, s := plain(size)
		d.offer(now, data, s)
		if f := d.flight.last(); f != nil {
			worst = max(worst, f.due-now)
		}
		for {
			if _, _, ok := d.arrive(now); !ok {
				break
			}
			passed++
		}
	}
	// The last check is at 7.99995 s; less the delay, at 10 000 frames a second.
	if want := 79_799; passed != want {
		t.Errorf("%d frames passed, want %d", passed, want)
	}
	if want := 60 * time.Millisecond; worst != want { // 500 KB at 100 Mbit/s take 40 ms
		t.Errorf("the worst delay was %v, want %v", worst, want)
	}
}

func TestLossFollowsTheSeed(t *testing.T) {
	t.Parallel()
	fate := func(seed, id uint64, rate int64) []bool {
		d := direction{id: id}
		d.set(Link{Rate: rate, Loss: 0.01, Seed: seed})
		return send(&d, 50_000, 100, 0, time.Microsecond)
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
	d := direction{}
	d.set(Link{Loss: 1})
	arp := packet.NewPacket(42)
	clear(arp.Record())
	arp.Record()[12], arp.Record()[13] = 0x08, 0x06
	other, s := plain(42)
	if !d.offer(0, arp, plainShape(arp.Record())) || d.offer(0, other, s) {
		t.Error("with all lost, ARP must pass and nothing else")
	}
}

func TestHoleAndUnplug(t *testing.T) {
	t.Parallel()
	var d direction
	d.set(Link{Delay: time.Millisecond})
	send(&d, 2, 100, 0, 0)
	d.link.Hole = true
	send(&d, 3, 100, 0, 0)
	for range 2 {
		if _, deliver, ok := d.arrive(time.Second); deliver || !ok {
			t.Error("a frame in flight passed a hole")
		}
	}
	d.link.Hole, d.unplugged = false, true
	send(&d, 1, 100, time.Second, 0)
	d.unplugged = false
	send(&d, 1, 100, time.Second, 0)
	if _, deliver, ok := d.arrive(2 * time.Second); !deliver || !ok {
		t.Error("nothing passes after the hole")
	}
	if d.stats != (Stats{Passed: 1, Bytes: 100, Holed: 6}) {
		t.Errorf("%+v", d.stats)
	}
}

func TestShorterDelayKeepsOrder(t *testing.T) {
	t.Parallel()
	var d direction
	d.set(Link{Delay: time.Second})
	send(&d, 1, 100, 0, 0)
	d.set(Link{Delay: time.Millisecond})
	send(&d, 1, 200, 0, 0)
	if f, _, _ := d.arrive(time.Second); f.size != 100 {
		t.Errorf("%d bytes came first", f.size)
	}
	if f, _, _ := d.arrive(time.Second); f.size != 200 {
		t.Errorf("%d bytes came second", f.size)
	}
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	var d direction
	d.set(Link{Rate: 1_000_000_000, Delay: time.Millisecond, Loss: 0.1})
	data, shape := plain(1500)
	now := time.Duration(0)
	step := func() {
		now += 12 * time.Microsecond
		d.offer(now, data, shape)
		d.arrive(now)
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
