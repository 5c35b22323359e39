package meter

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tunnel/packet"
)

// datagram returns a UDP packet of size bytes from 10.1.1.3 to an address and port.
func datagram(size int, to uint32, port uint16) *packet.Packet {
	p := packet.NewPacket(packet.HeaderLen + size)
	clear(p.Record())
	ip := p.IP()
	ip[0], ip[9] = 0x45, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(size))
	binary.BigEndian.PutUint32(ip[12:], 0x0a010103)
	binary.BigEndian.PutUint32(ip[16:], to)
	binary.BigEndian.PutUint16(ip[20:], 1000)
	binary.BigEndian.PutUint16(ip[22:], port)
	return p
}

// super returns n datagrams of size bytes, with their headers, as one super-packet.
func super(n, size int, to uint32, port uint16) *packet.Packet {
	p := datagram(28+n*(size-28), to, port)
	packet.Header{Flags: 1, GSOType: 5, GSOSize: uint16(size - 28), ChecksumStart: 20,
		ChecksumOffset: 6}.Put(p.Record())
	return p
}

// measure returns what is counted while traffic runs.
func measure(t *testing.T, traffic func(m *Meter)) Flows {
	t.Helper()
	m, counting := new(Meter), new(table)
	if !m.add(counting) {
		t.Fatal("no room")
	}
	begin := time.Now()
	traffic(m)
	m.remove(counting)
	return counting.flows(time.Since(begin))
}

// Each flow has what was sent, written, marked and dropped of it, and its own delays.
func TestCounts(t *testing.T) {
	all := measure(t, func(m *Meter) {
		p := datagram(1000, 1, 53)
		m.Tap().Sent(p, 2*time.Millisecond)
		m.Tap().Sent(p, 4*time.Millisecond)
		m.Tap().Sent(p, -time.Millisecond) // by the clocks of two processors
		m.Marked(p)
		m.Dropped(p)
		m.Tap().Sent(datagram(500, 1, 54), time.Second)
		p = super(10, 128, 1, 55) // each of its segments counts
		m.Tap().Sent(p, 0)
		m.Marked(p)
		m.Dropped(p)
		m.DroppedSegment(p)
		p = datagram(1000, 1, 53)
		var b packet.Batch
		b.Add(p)
		m.Written(&b)
		b.Reset()
	})
	want := map[key]Flow{
		{flowTo(1, 53), Out}: {Count: Count{3000, 3, 1, 1}, Delay: 2 * time.Millisecond,
			MaxDelay: 4 * time.Millisecond},
		{flowTo(1, 54), Out}: {Count: Count{500, 1, 0, 0}, Delay: time.Second, MaxDelay: time.Second},
		{flowTo(1, 53), In}:  {Count: Count{1000, 1, 0, 0}},
		{flowTo(1, 55), Out}: {Count: Count{1280, 10, 10, 11}},
	}
	for _, f := range all.Flows {
		k := key{f.Flow, f.Way}
		w := want[k]
		w.Flow, w.Way = f.Flow, f.Way
		if f != w {
			t.Errorf("%+v is counted as %+v", w, f)
		}
		delete(want, k)
	}
	if len(want) > 0 || all.Total != (Count{5780, 15, 11, 12}) || all.Others != (Count{}) {
		t.Errorf("missing %v; total %+v, others %+v", want, all.Total, all.Others)
	}
}

func flowTo(to uint32, port uint16) packet.Flow {
	p := datagram(28, to, port)
	defer p.Free()
	return packet.FlowOf(p.IP())
}

// A million flows take no more memory than a thousand, all that they send is counted, and a flow
// that sends a hundredth of the bytes among them is found, with its rate to within 2 %.
func TestFlood(t *testing.T) {
	const flows, every, size = 1_000_000, 100, 100
	random := rand.New(rand.NewPCG(1, 2))
	var m Meter
	counting := new(table)
	m.add(counting)
	heavy := datagram(size, 0x0a010105, 443)
	memory := func() int64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	flood := func(n int) {
		for i := range n {
			p := datagram(size, random.Uint32(), uint16(random.Uint32()))
			m.Tap().Sent(p, 0)
			p.Free()
			if i%every == 0 {
				m.Tap().Sent(heavy, 0)
			}
		}
	}
	flood(10_000)
	before := memory()
	flood(flows - 10_000)
	if grown := memory() - before; grown > 128<<10 {
		t.Errorf("%d flows take %d bytes more than 10000", flows, grown)
	}
	m.remove(counting)
	all := counting.flows(time.Second)
	if len(all.Flows) != MostFlows {
		t.Errorf("%d flows are returned, want %d", len(all.Flows), MostFlows)
	}
	const packets = flows + flows/every
	if all.Total != (Count{Bytes: packets * size, Packets: packets}) {
		t.Errorf("the total is %+v", all.Total)
	}
	sum, found := all.Others, Count{}
	for _, f := range all.Flows {
		sum.Add(f.Count)
		if f.Flow == packet.FlowOf(heavy.IP()) {
			found = f.Count
		}
	}
	if sum != all.Total {
		t.Errorf("flows and others are %+v together, of %+v", sum, all.Total)
	}
	if n := found.Packets; n < flows/every*98/100 || n > flows/every {
		t.Errorf("of the flow with %d packets %d are counted", flows/every, n)
	}
}

// A flow that sends much keeps its entry, however many small packets of other flows are dropped: a
// packet weighs its bytes, and not more because it is dropped or marked.
func TestDropFlood(t *testing.T) {
	const packets, dropped = 500, 2000 // of the flow, and of others for each of these
	random := rand.New(rand.NewPCG(3, 4))
	heavy := datagram(1400, 0x0a010105, 443)
	all := measure(t, func(m *Meter) {
		for range packets {
			m.Tap().Sent(heavy, 0)
			for range dropped {
				p := datagram(40, random.Uint32(), uint16(random.Uint32()))
				m.Marked(p)
				m.Dropped(p)
				p.Free()
			}
		}
	})
	if all.Total.Dropped != packets*dropped || all.Total.Marked != packets*dropped {
		t.Errorf("the total is %+v", all.Total)
	}
	for _, f := range all.Flows {
		if f.Flow == packet.FlowOf(heavy.IP()) && f.Packets == packets {
			return
		}
	}
	t.Errorf("the flow with %d packets was pushed out by drops", packets)
}

// Measurements that run at once count the same, their number is bounded, and one that is broken off
// leaves nothing.
func TestMeasure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := new(Meter)
		var group sync.WaitGroup
		for range Most {
			group.Go(func() {
				f, err := m.Measure(t.Context(), time.Second)
				if err != nil || f.Took != time.Second || f.Total.Packets != 1 {
					t.Errorf("measured %+v, %v", f, err)
				}
			})
		}
		synctest.Wait()
		if _, err := m.Measure(t.Context(), time.Millisecond); !errors.Is(err, ErrBusy) {
			t.Errorf("one too many: %v", err)
		}
		m.Tap().Sent(datagram(100, 1, 1), 0)
		group.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := m.Measure(ctx, time.Hour); !errors.Is(err, context.Canceled) {
			t.Errorf("broken off: %v", err)
		}
		if len(m.Tap()) != 0 {
			t.Error("something is still measured")
		}
	})
	var none *Meter
	none.Dropped(nil)
	none.Written(nil)
}
