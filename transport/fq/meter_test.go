package fq

import (
	"testing"
	"testing/synctest"
	"time"

	"tunnel/transport/fq/meter"
)

// measured returns the flows by their source ports while traffic runs.
func measured(t *testing.T, m *meter.Meter, traffic func()) map[uint16]meter.Flow {
	t.Helper()
	flows := map[uint16]meter.Flow{}
	synctest.Test(t, func(t *testing.T) {
		result := make(chan meter.Flows)
		go func() {
			f, err := m.Measure(t.Context(), time.Second)
			if err != nil {
				t.Error(err)
			}
			result <- f
		}()
		synctest.Wait()
		traffic()
		for _, f := range (<-result).Flows {
			flows[f.SourcePort] = f
		}
	})
	return flows
}

// What is measured of each flow is what the queue counts: packets that leave and how long they have
// waited, marks, and drops for each reason.
func TestMeter(t *testing.T) {
	l, queues, now := fakeSubflows(2)
	m := new(meter.Meter)
	for _, q := range append(queues, l.only.Load()) {
		if q != nil {
			q.meter = m
		}
	}
	ports := apart(3)
	before := l.Drops()
	flows := measured(t, m, func() {
		for _, port := range ports {
			l.Push(datagram(port, 1000, 0, 0))
		}
		now.Add(int64(7 * time.Millisecond))
		for _, q := range queues {
			pop(q, 1<<20)
		}
		// a standing queue of a flow with ECN, and of one without
		for seq := range 1000 {
			l.Push(datagram(ports[0], 1000, 1, seq))
			l.Push(datagram(ports[1], 1000, 0, seq))
			if seq > 100 {
				now.Add(int64(time.Millisecond))
				for _, q := range queues {
					pop(q, 1)
				}
			}
		}
		for _, q := range queues { // the rest is too old
			for _, p := range q.TakeFresh(0) {
				p.Free()
			}
		}
	})
	d := l.Drops()
	marked, dropped := d.Marked-before.Marked, d.CoDel+d.Stale-before.CoDel-before.Stale
	var sum meter.Count
	for _, f := range flows {
		sum.Add(f.Count)
	}
	if sum.Marked != marked || sum.Dropped != dropped || marked == 0 || d.CoDel == before.CoDel {
		t.Errorf("measured %+v; the queues have marked %d and dropped %d", sum, marked, dropped)
	}
	if f := flows[ports[0]]; f.Marked == 0 || f.Delay < 50*time.Millisecond {
		t.Errorf("the flow with ECN: %+v", f)
	}
	if f := flows[ports[1]]; f.Marked != 0 || f.Dropped == 0 || f.MaxDelay <= f.Delay {
		t.Errorf("the flow without ECN: %+v", f)
	}
	if f := flows[ports[2]]; f.Bytes != 1000 || f.Packets != 1 || f.Delay != 7*time.Millisecond ||
		f.MaxDelay != f.Delay || f.Dropped != 0 {
		t.Errorf("the flow of one packet: %+v", f)
	}
}

// A full queue, and a Budget that is exceeded, drop packets of flows that are measured; subflows
// measure by one Meter.
func TestMeterFull(t *testing.T) {
	b := NewBudget(1 << 20)
	l := b.NewSubflows(256<<10, "a")
	m := new(meter.Meter)
	l.Measure(m)
	defer l.Close()
	flows := measured(t, m, func() {
		for seq := range 1000 {
			l.Push(datagram(1, 1000, 0, seq))
		}
		l.only.Load().Shed(0)
	})
	d := l.Drops()
	if f := flows[1]; d.Full == 0 || d.Memory == 0 || f.Dropped != d.Full+d.Memory {
		t.Errorf("measured %+v; the queue has dropped %+v", f, d)
	}
	if first, second := l.Join(), l.Join(); first.meter != m || second.meter != m {
		t.Error("a subflow has another meter")
	}
}

// Of a super-packet CoDel drops one segment, and so counts one; a full queue drops, and counts, all
// of them.
func TestMeterSegments(t *testing.T) {
	q, now := fakeQueue(64 << 20)
	m := new(meter.Meter)
	q.meter = m
	const segments = 20
	flows := measured(t, m, func() {
		for range 400 {
			q.Push(superDatagram(1, segments, 100))
			*now += time.Millisecond
			if q.Len() > 100 {
				pop(q, 1)
			}
		}
	})
	if n := q.Drops().CoDel; n == 0 || flows[1].Dropped != n {
		t.Errorf("CoDel drops %d segments, %d are measured", n, flows[1].Dropped)
	}
	flows = measured(t, m, func() { q.Shed(0) })
	if n := q.Drops().Memory; n == 0 || flows[1].Dropped < n*(segments-2) ||
		flows[1].Dropped > n*segments {
		t.Errorf("%d super-packets of %d are shed, %d segments are measured", n, segments,
			flows[1].Dropped)
	}
	q.Close()
}
