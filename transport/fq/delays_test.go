package fq

import (
	"testing"
	"time"
)

// A Pop counts the delay of its first packet; one that finds none counts nothing. What a subflow
// has counted stays when it leaves.
func TestDelays(t *testing.T) {
	l, queues, now := fakeSubflows(2)
	for seq := range 3 {
		l.Push(datagram(1, 100, 0, seq))
	}
	now.Add(int64(10 * time.Millisecond))
	if n := len(seqs(queues[0])) + len(seqs(queues[1])); n != 1 {
		t.Fatalf("the packets of one flow are of %d", n)
	}
	for _, leaves := range []*Queue{nil, queues[1], queues[0]} {
		if leaves != nil {
			l.Leave(leaves)
		}
		if d := l.Drops().Delays; d.Sum != 10*time.Millisecond || d.Counts[8] != 1 {
			t.Errorf("10 ms are counted as %+v", d)
		}
	}
}
