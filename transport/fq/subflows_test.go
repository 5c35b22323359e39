package fq

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tunnel/packet"
)

// fakeSubflows are Subflows with so many subflows joined, and a clock that the test sets.
func fakeSubflows(subflows int) (*Subflows, []*Queue, *atomic.Int64) {
	now := new(atomic.Int64)
	l := NewSubflows(8 << 20)
	l.clock = now.Load
	(*l.all.Load())[0].queue.clock = now.Load
	var queues []*Queue
	for range subflows {
		queues = append(queues, l.Join())
	}
	now.Add(2 * rest) // what was there before the second subflow has rested
	return l, queues, now
}

// apart returns ports whose flows have pins of their own.
func apart(n int) (ports []uint16) {
	taken := map[uint32]bool{}
	for port := uint16(1); len(ports) < n; port++ {
		p := datagram(port, 100, 0, 0)
		if pin := packet.FlowHash(p.IP()) % pins; !taken[pin] {
			taken[pin] = true
			ports = append(ports, port)
		}
		p.Free()
	}
	return ports
}

// seqs pops all that waits in q and returns the numbers of the packets, by port.
func seqs(q *Queue) map[uint16][]int {
	got := map[uint16][]int{}
	for q.Len() > 0 {
		for _, ip := range pop(q, 1<<20) {
			got[portOf(ip)] = append(got[portOf(ip)], seqOf(ip))
		}
	}
	return got
}

// subflowOf pushes n packets of a port and returns the number of the subflow that they leave by.
func subflowOf(t *testing.T, l *Subflows, queues []*Queue, port uint16, n int) int {
	t.Helper()
	for seq := range n {
		l.Push(datagram(port, 1400, 0, seq))
	}
	at := -1
	for i, q := range queues {
		if n := len(seqs(q)[port]); n > 0 {
			if at >= 0 {
				t.Fatalf("flow %d is on subflows %d and %d", port, at, i)
			}
			at = i
		}
	}
	return at
}

// Flows are spread; one stays on its subflow while it is busy; and when it has rested it goes where
// there is less load.
func TestSubflowsSpreadFlows(t *testing.T) {
	l, queues, now := fakeSubflows(2)
	ports := apart(8)
	heavy, light := subflowOf(t, l, queues, ports[0], 1), subflowOf(t, l, queues, ports[1], 1)
	if heavy == light {
		t.Fatalf("both flows are on subflow %d", heavy)
	}
	for range 50 {
		now.Add(rest - usedStep - 1)
		if at := subflowOf(t, l, queues, ports[0], 300); at != heavy {
			t.Fatalf("the flow went from subflow %d to %d", heavy, at)
		}
	}
	for _, port := range ports[2:] {
		if at := subflowOf(t, l, queues, port, 1); at != light {
			t.Errorf("flow %d is on the subflow with the load", port)
		}
	}
	now.Add(3 * rest)
	busy := subflowOf(t, l, queues, ports[1], 1000)
	if at := subflowOf(t, l, queues, ports[0], 1); at == busy {
		t.Error("a flow that has rested stays where the load is")
	}
	if at := subflowOf(t, l, queues, ports[1], 1); at != busy {
		t.Error("a flow that is busy leaves its subflow")
	}
}

// However long a flow has rested, it stays where something of it waits, or may still be on its way.
func TestSubflowsHoldFlows(t *testing.T) {
	for _, test := range []struct {
		name   string
		before func(q *Queue, now *atomic.Int64)
	}{
		{"a packet waits", func(_ *Queue, now *atomic.Int64) { now.Add(1) }},
		{"a packet left late", func(q *Queue, now *atomic.Int64) {
			now.Add(2 * drainedIn)
			seqs(q)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, queues, now := fakeSubflows(2)
			ports := apart(2)
			held := subflowOf(t, l, queues, ports[0], 1000)
			l.Push(datagram(ports[0], 100, 0, 1))
			test.before(queues[held], now)
			now.Add(rest - 1)
			(*l.all.Load())[held].now.Add(100 << 20) // it would have to leave
			l.Push(datagram(ports[0], 100, 0, 2))
			if got := seqs(queues[held])[ports[0]]; len(got) == 0 || got[len(got)-1] != 2 {
				t.Errorf("the flow left subflow %d, which has %v of it", held, got)
			}
		})
	}
}

// The packets of a lost subflow move to the others, in order, except for those that are too old;
// the packets of the last subflow wait.
func TestSubflowsLose(t *testing.T) {
	l, queues, now := fakeSubflows(3)
	ports := apart(9)
	for seq := range 3 {
		for _, port := range ports {
			l.Push(datagram(port, 100, 0, seq))
		}
		// the first is too old when the subflows are lost, the others are not
		now.Add(int64(Fresh) * 2 / 5)
	}
	now.Add(1)
	l.Leave(queues[1])
	l.Leave(queues[0])
	l.Push(datagram(ports[0], 100, 0, 3))
	l.Leave(queues[2])
	for _, port := range ports {
		l.Push(datagram(port, 100, 0, 4))
	}
	got := seqs(l.Join())
	for i, port := range ports {
		want := []int{1, 2, 4}
		if i == 0 {
			want = []int{1, 2, 3, 4}
		}
		if seqs := got[port]; !slices.Equal(seqs, want) &&
			!slices.Equal(seqs, append([]int{0}, want...)) {
			t.Errorf("flow %d: %v", port, seqs)
		}
	}
	if lost := l.Drops(); lost.Stale != 6 {
		t.Errorf("dropped %+v; want the 6 that were old on the subflows that were lost beside "+
			"others", lost)
	}
	if l.only.Load() == nil {
		t.Error("one subflow is left, and it costs as much as several")
	}
}

// A caller that still takes a queue for the only one finds out when it is not, and only then.
func TestSubflowsAlone(t *testing.T) {
	l := NewSubflows(1 << 20)
	alone := func(q *Queue) bool {
		p := datagram(1, 100, 0, 1)
		_, pushed := q.pushAlone(p, packet.FlowHash(p.IP()))
		return pushed
	}
	first := l.Join()
	if !alone(first) {
		t.Error("one subflow takes no packets")
	}
	second := l.Join()
	if alone(first) || alone(second) {
		t.Error("one of two subflows takes packets past the pins")
	}
	l.Leave(first)
	if alone(first) || !alone(second) {
		t.Error("a subflow that was lost takes packets, or the one that is left does not")
	}
}

// While subflows come and go every flow keeps its order, and what does not come out is counted.
func TestSubflowsConcurrent(t *testing.T) {
	const flows, each = 6, 4000
	// enough for all of it, even on one subflow of five, however slow the machine is
	l := NewSubflows(320 << 20)
	var out sync.Mutex // makes one order of what comes out of all subflows
	got := map[uint16][]int{}
	popFrom := func(q *Queue) {
		out.Lock()
		defer out.Unlock()
		for _, ip := range pop(q, 20<<10) {
			got[portOf(ip)] = append(got[portOf(ip)], seqOf(ip))
		}
	}
	var pushers, subflows sync.WaitGroup
	over := make(chan struct{})
	for port := range uint16(flows) {
		pushers.Go(func() {
			for seq := range each {
				l.Push(datagram(port, 100+seq%1000, 0, seq))
				if seq%16 == 0 {
					l.Flush()
					time.Sleep(time.Duration(rand.N(50)) * time.Microsecond)
				}
			}
		})
	}
	for range 4 {
		subflows.Go(func() {
			for done := false; !done; {
				q := l.Join()
				for range rand.N(100) {
					popFrom(q)
				}
				l.Leave(q)
				select {
				case <-over:
					done = true
				default:
				}
			}
		})
	}
	pushers.Wait()
	close(over)
	subflows.Wait()
	for q := l.Join(); q.Len() > 0; {
		popFrom(q)
	}
	n := 0
	for port, all := range got {
		n += len(all)
		for i := range all {
			if i > 0 && all[i] <= all[i-1] {
				t.Fatalf("flow %d: packet %d after %d", port, all[i], all[i-1])
			}
		}
	}
	drops := l.Drops()
	if lost := drops.Full + drops.CoDel + drops.Stale; n+int(lost) != flows*each ||
		n < flows*each/2 {
		t.Errorf("%d of %d came out; drops %+v", n, flows*each, drops)
	}
	l.Close()
}

// A flow on one of several subflows has as long a queue as on one alone; all subflows together hold
// what one would, and a share for each that comes later.
func TestSubflowsShareTheirRoom(t *testing.T) {
	const limit = 8 << 20
	l, queues, _ := fakeSubflows(4)
	defer l.Close()
	fill := func(q *Queue, port uint16, bytes int) {
		for n := 0; n < bytes; n += packet.SmallRoom {
			p := datagram(port, 1400, 0, 0)
			q.pushOne(p, packet.FlowHash(p.IP()))
		}
	}
	fill(queues[0], 1, limit-shownStep)
	if n := l.Drops().Full; n != 0 {
		t.Errorf("%d packets dropped of a flow that has all subflows for itself", n)
	}
	fill(queues[0], 1, limit)
	if n := queues[0].buffered; n > limit {
		t.Errorf("a subflow holds %d bytes; %d are all", n, limit)
	}
	for i, q := range queues[1:] {
		fill(q, uint16(2+i), limit)
		if n := q.buffered; n < limit/4-packet.SmallRoom || n > limit/4 {
			t.Errorf("subflow %d holds %d bytes beside a full one; want its share", i+1, n)
		}
	}
	fill(queues[0], 1, packet.SmallRoom)
	if n := queues[0].buffered; n > limit/4 {
		t.Errorf("a subflow holds %d bytes while the others have theirs", n)
	}
	var b packet.Batch
	for queues[1].Len() > 0 {
		queues[1].Pop(&b, 1<<20)
		b.Reset()
	}
	fill(queues[0], 1, limit)
	if n := queues[0].buffered; n < limit/2-2*shownStep || n > limit/2+2*shownStep {
		t.Errorf("a subflow holds %d bytes; want its share and that of one that is empty", n)
	}
}
