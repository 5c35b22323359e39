package fq

import (
	"encoding/binary"
	"log/slog"
	"strings"
	"testing"
	"time"

	"tunnel/packet"
)

// datagram returns a UDP packet of n bytes from a port, with ecn in its ECN field and seq in its
// payload.
func datagram(port uint16, n int, ecn byte, seq int) *packet.Packet {
	p := packet.NewPacket(packet.HeaderLen + n)
	clear(p.Record())
	ip := p.IP()
	ip[0], ip[1], ip[9] = 0x45, ecn, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(n))
	copy(ip[12:], []byte{10, 1, 1, 3, 10, 1, 1, 1})
	binary.BigEndian.PutUint16(ip[20:], port)
	binary.BigEndian.PutUint16(ip[28:], uint16(seq))
	return p
}

func portOf(ip []byte) uint16 { return binary.BigEndian.Uint16(ip[20:]) }
func seqOf(ip []byte) int     { return int(binary.BigEndian.Uint16(ip[28:])) }

// fakeQueue is a Queue whose clock the test sets.
func fakeQueue(limit int) (*Queue, *time.Duration) {
	q := NewQueue(limit)
	now := new(time.Duration)
	q.clock = func() int64 { return int64(*now) }
	return q, now
}

// pop returns the IP packets that a Pop of so many bytes gives.
func pop(q *Queue, most int) (all [][]byte) {
	var b packet.Batch
	q.Pop(&b, most)
	for i := range b.Len() {
		all = append(all, append([]byte(nil), b.IP(i)...))
	}
	b.Reset()
	return all
}

// Four flows that hold very different amounts get equal shares, each in its own order.
func TestQueueIsFair(t *testing.T) {
	q, _ := fakeQueue(1 << 30)
	for seq := range 400 {
		q.Push(datagram(1, 1400, 0, seq))
		q.Push(datagram(2, 700, 0, 2*seq))
		q.Push(datagram(2, 700, 0, 2*seq+1))
		if seq < 100 {
			q.Push(datagram(3, 1400, 0, seq))
			q.Push(datagram(4, 1400, 0, seq))
		}
	}
	sent, next := map[uint16]int{}, map[uint16]int{}
	for _, ip := range pop(q, 200*1400) {
		sent[portOf(ip)] += len(ip)
		if seqOf(ip) != next[portOf(ip)] {
			t.Fatalf("port %d: packet %d when %d was due", portOf(ip), seqOf(ip), next[portOf(ip)])
		}
		next[portOf(ip)]++
	}
	for port := uint16(1); port <= 4; port++ {
		if share := sent[port]; share < 45*1400 || share > 55*1400 {
			t.Errorf("port %d got %d bytes of %d", port, share, 200*1400)
		}
	}
	q.Close()
}

// A flow that has just begun goes before those that fill the queue.
func TestQueueSparseFlowFirst(t *testing.T) {
	q, _ := fakeQueue(1 << 30)
	for seq := range 100 {
		q.Push(datagram(1, 1400, 0, seq))
		q.Push(datagram(2, 1400, 0, seq))
	}
	pop(q, 20*1400)
	q.Push(datagram(9, 84, 0, 0))
	if got := pop(q, 1); len(got) != 1 || portOf(got[0]) != 9 {
		t.Errorf("port %d went first; want the newcomer", portOf(got[0]))
	}
	q.Close()
}

// The flow that fills the queue pays for it: a small flow loses nothing.
func TestQueueDropsFromFattest(t *testing.T) {
	q, _ := fakeQueue(64 * 2048)
	q.Push(datagram(9, 84, 0, 0))
	for seq := range 1000 {
		q.Push(datagram(1, 1400, 0, seq))
	}
	if d := q.Drops(); d.Full != 1000+1-64 {
		t.Errorf("%d dropped; want %d", d.Full, 1000+1-64)
	}
	got := pop(q, 1<<20)
	if len(got) != 64 || portOf(got[0]) != 9 || seqOf(got[63]) != 999 {
		t.Errorf("%d packets left, the newest is not among them, or the small flow lost its own",
			len(got))
	}
}

// stand keeps a queue of one flow standing: each millisecond one packet comes and one goes, 50
// behind it.
func stand(q *Queue, now *time.Duration, ecn byte, milliseconds int) (marked int) {
	for seq := range 50 {
		q.Push(datagram(1, 1400, ecn, seq))
	}
	for range milliseconds {
		*now += time.Millisecond
		q.Push(datagram(1, 1400, ecn, 0))
		for _, ip := range pop(q, 1) {
			if ip[1]&3 == 3 {
				marked++
			}
		}
	}
	return marked
}

// CoDel leaves a queue alone for an interval, then drops more and more often.
func TestCoDelDrops(t *testing.T) {
	q, now := fakeQueue(1 << 30)
	stand(q, now, 0, 90)
	if d := q.Drops(); d.CoDel != 0 {
		t.Errorf("%d dropped within the first interval", d.CoDel)
	}
	stand(q, now, 0, 500)
	first := q.Drops().CoDel
	stand(q, now, 0, 500)
	second := q.Drops().CoDel - first
	if first == 0 || second <= first {
		t.Errorf("%d dropped, then %d; want more and more", first, second)
	}
	q.Close()
}

// A sender that takes part in ECN is told by marks, and loses nothing.
func TestCoDelMarks(t *testing.T) {
	q, now := fakeQueue(1 << 30)
	marked := stand(q, now, 2, 1000)
	if d := q.Drops(); d.CoDel != 0 || d.Marked == 0 || d.Marked != uint64(marked) {
		t.Errorf("%+v, %d marks seen; want marks, all of them seen, and no drops", d, marked)
	}
	q.Close()
}

// A queue that empties is no standing queue.
func TestCoDelLeavesBurstsAlone(t *testing.T) {
	q, now := fakeQueue(1 << 30)
	for range 100 {
		for seq := range 60 {
			q.Push(datagram(1, 1400, 0, seq))
		}
		for range 60 {
			*now += time.Millisecond
			pop(q, 1)
		}
	}
	if d := q.Drops(); d != (Drops{Delays: d.Delays}) {
		t.Errorf("%+v of bursts that were worked off", d)
	}
}

// TestDropsLog has a log show the counts that are not zero, by name.
func TestDropsLog(t *testing.T) {
	for _, test := range []struct {
		drops Drops
		want  string
	}{
		{Drops{}, "msg=x\n"},
		{Drops{Full: 1, Memory: 2, CoDel: 3, Marked: 4, Stale: 5, Cut: 6},
			"msg=x queue.full=1 queue.memory=2 queue.codel=3 queue.marked=4 queue.stale=5 " +
				"queue.cut=6\n"},
		{Drops{CoDel: 3}, "msg=x queue.codel=3\n"},
	} {
		var line strings.Builder
		bare := func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
				return slog.Attr{}
			}
			return a
		}
		slog.New(slog.NewTextHandler(&line, &slog.HandlerOptions{ReplaceAttr: bare})).Info("x",
			"queue", test.drops)
		if line.String() != test.want {
			t.Errorf("got %s", line.String())
		}
	}
}
