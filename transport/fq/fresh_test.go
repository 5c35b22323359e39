package fq

import (
	"testing"
	"time"
)

// After an outage what is new goes out, and of each flow the newest however old.
func TestTakeFresh(t *testing.T) {
	q, now := fakeQueue(1 << 20)
	for seq := range 5 { // at 0, 1, 2, 3 and 4 seconds
		q.Push(datagram(1, 100, 0, seq))
		if seq < 2 {
			q.Push(datagram(2, 100, 0, seq))
		}
		*now += time.Second
	}
	kept := q.TakeFresh(2 * time.Second)
	got := map[uint16][]int{}
	for _, p := range kept {
		got[portOf(p.IP())] = append(got[portOf(p.IP())], seqOf(p.IP()))
	}
	if len(kept) != 3 || len(got[1]) != 2 || got[1][0] != 3 || got[1][1] != 4 || len(got[2]) != 1 ||
		got[2][0] != 1 {
		t.Errorf("kept %v", got)
	}
	if d := q.Drops(); d != (Drops{Stale: 4}) {
		t.Errorf("drops %+v", d)
	}
	if again := q.TakeFresh(time.Hour); len(again) > 0 || len(pop(q, 1<<20)) > 0 {
		t.Errorf("%d packets are still there", len(again))
	}
	// It is a queue as before.
	for _, p := range kept {
		q.Push(p)
	}
	if n := len(pop(q, 1<<20)); n != 3 {
		t.Errorf("%d of 3 packets come out", n)
	}
}
