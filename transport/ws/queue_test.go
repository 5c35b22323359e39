package ws_test

import (
	"sync"
	"testing"

	"tunnel/transport/fq"
)

// drain pops all that is there.
func drain(q *fq.Queue) (all [][]byte) {
	for {
		packets := pop(q)
		if len(packets) == 0 {
			return all
		}
		all = append(all, packets...)
	}
}

// inOrder checks that the packets of each flow come in the order of their ids, each at most once.
func inOrder(t *testing.T, packets [][]byte) {
	t.Helper()
	last := map[byte]uint32{}
	for _, p := range packets {
		flow, id := flowAndID(p)
		if id <= last[flow] {
			t.Fatalf("flow %d: packet %d after %d", flow, id, last[flow])
		}
		last[flow] = id
	}
}

// Flows keep their order, and what does not come out is counted.
func TestQueue(t *testing.T) {
	q := fq.NewQueue(queueLimit)
	for i := range uint32(1000) {
		push(q, ipPacket(byte(i%7), i+1, 100+int(i%300)))
	}
	all := drain(q)
	inOrder(t, all)
	if uint64(len(all))+dropped(q) != 1000 || dropped(q) > 100 {
		t.Errorf("%d of 1000 came out, %d dropped", len(all), dropped(q))
	}
}

// A full queue drops and counts; it holds its limit and never blocks; a small flow beside a large
// one gets through.
func TestQueueFull(t *testing.T) {
	const limit = 100_000
	q := fq.NewQueue(limit)
	const packets = 1000
	for i := range uint32(packets) {
		push(q, ipPacket(1, i+1, 1000))
	}
	if dropped(q) == 0 {
		t.Error("nothing dropped")
	}
	all := drain(q)
	inOrder(t, all)
	if uint64(len(all))+dropped(q) != packets || len(all) == 0 || len(all)*1000 > limit {
		t.Errorf("%d came out, %d dropped", len(all), dropped(q))
	}
	push(q, ipPacket(1, 1, 1000))
}

// Many push while one pops: nothing is lost that is not counted, nothing changes on its way.
func TestQueueConcurrent(t *testing.T) {
	const pushers, each = 8, 2000
	q := fq.NewQueue(queueLimit)
	var group sync.WaitGroup
	for flow := range byte(pushers) {
		group.Go(func() {
			for i := range uint32(each) {
				push(q, ipPacket(flow, i+1, 60+int(i%1000)))
			}
		})
	}
	over := make(chan struct{})
	go func() {
		group.Wait()
		close(over)
	}()
	var all [][]byte
	for done := false; !done; {
		select {
		case <-over:
			done = true
		default:
		}
		all = append(all, drain(q)...)
	}
	inOrder(t, all)
	for _, p := range all {
		flow, id := flowAndID(p)
		samePackets(t, [][]byte{p}, [][]byte{ipPacket(flow, id, 60+int((id-1)%1000))})
	}
	if uint64(len(all))+dropped(q) != pushers*each {
		t.Errorf("%d came out, %d dropped; %d went in", len(all), dropped(q), pushers*each)
	}
}
