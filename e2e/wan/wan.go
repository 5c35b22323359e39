// Package wan emulates a long path between two hosts of a lab: a rate, a delay, random loss and a
// drop-tail queue in each direction. It runs in user space, on a TAP device in each host, because
// not every kernel has netem.
//
// The devices of Connect have no offloads, so the link carries Ethernet frames with packets of at
// most 1500 bytes, as a real one does. On a fast link, two system calls for each frame take most of
// a processor. The devices of ConnectOffloaded have the offloads of a real network interface: the
// hosts' kernels send super-frames and receive them as after GRO, and the link treats each as its
// segments, which count, wait and get lost one by one.
package wan

import (
	"strings"
	"sync"
	"time"

	"tunnel/e2e/lab"
)

// Link is the behaviour of one direction of a link. The zero value is as fast as the machine.
type Link struct {
	Rate  int64         // bit/s of Ethernet frames; 0 is no limit
	Delay time.Duration // from the last bit sent to the frame's arrival: one way
	// Bytes that may wait to be sent; frames over this limit are dropped. 0 is no limit.
	Queue int
	// Share of frames lost, 0 to 1. ARP is spared, since a lost request costs a second.
	Loss float64
	Seed uint64 // seed of the loss, which depends only on it and the frames' order
	Hole bool   // every frame is dropped silently
}

// Stats counts frames of one direction, each segment of a super-frame as one.
type Stats struct {
	Passed  uint64 // delivered
	Bytes   uint64 // in frames that were delivered
	Dropped uint64 // dropped by the full queue
	Lost    uint64 // lost by chance
	Holed   uint64 // dropped by a hole or an unplugged cable
}

// txqueuelen is the length of the devices' own queues, in frames: large, so that only the
// emulator's queue overflows.
const txqueuelen = "20000"

// Emulator is a link between two hosts. It ends with the test.
type Emulator struct {
	a, b     tap
	up, down *pump
}

// Connect connects two hosts by a link, up from a to b and down from b to a. Each end is an
// Ethernet device with the address given in CIDR form, or without one if it is empty.
func Connect(t lab.TB, a, b *lab.Host, aCIDR, bCIDR string, up, down Link) *Emulator {
	t.Helper()
	return join(t, openEnd(t, a, aCIDR, false), openEnd(t, b, bCIDR, false), up, down)
}

// ConnectOffloaded is Connect with devices that have offloads.
func ConnectOffloaded(t lab.TB, a, b *lab.Host, aCIDR, bCIDR string, up, down Link) *Emulator {
	t.Helper()
	return join(t, openEnd(t, a, aCIDR, true), openEnd(t, b, bCIDR, true), up, down)
}

// join starts both directions between two devices.
func join(t lab.TB, a, b tap, up, down Link) *Emulator {
	t.Helper()
	return &Emulator{a: a, b: b, up: startPump(t, a, b, up, 0), down: startPump(t, b, a, down, 1)}
}

// openEnd makes a device in a host and sets it up.
func openEnd(t lab.TB, h *lab.Host, cidr string, offloads bool) tap {
	t.Helper()
	var end tap
	err := h.Do(func() (err error) {
		end, err = openTap(offloads)
		return err
	})
	if err != nil {
		t.Fatalf("wan: %v", err)
	}
	t.Cleanup(end.close)
	h.Run("ip", "link", "set", "dev", end.name, "up", "txqueuelen", txqueuelen)
	if cidr != "" {
		h.Run("ip", "addr", "add", cidr, "dev", end.name)
	}
	return end
}

// startPump starts one direction. It stops before the devices close.
func startPump(t lab.TB, from, to tap, link Link, direction uint64) *pump {
	t.Helper()
	p, err := newPump(from, to, link, direction)
	if err != nil {
		t.Fatalf("wan: %v", err)
	}
	var ended sync.WaitGroup
	ended.Go(p.run)
	t.Cleanup(func() {
		p.stop()
		ended.Wait()
		if err := p.close(); err != nil {
			t.Logf("wan: %s to %s: %v", from.name, to.name, err)
		}
	})
	return p
}

// Devices returns the names of the devices at a and at b.
func (e *Emulator) Devices() (a, b string) { return e.a.name, e.b.name }

// Set changes the link's parameters, from the next frame on. Queued frames leave at the rate at
// which they came in.
func (e *Emulator) Set(up, down Link) {
	e.up.set(up)
	e.down.set(down)
}

// Hole makes the link drop everything in both directions, or pass it again. Both ends keep their
// carrier.
func (e *Emulator) Hole(on bool) {
	for _, p := range []*pump{e.up, e.down} {
		p.change(func(d *direction) { d.link.Hole = on })
	}
}

// Plug unplugs the cable at both ends, or plugs it in: the devices lose their carrier, and frames
// in flight are lost.
func (e *Emulator) Plug(in bool) error {
	for _, p := range []*pump{e.up, e.down} {
		p.change(func(d *direction) { d.unplugged = !in })
	}
	if err := e.a.carrier(in); err != nil {
		return err
	}
	return e.b.carrier(in)
}

// Stats returns the counters of both directions.
func (e *Emulator) Stats() (up, down Stats) { return e.up.stats(), e.down.stats() }

// String describes a link: "100 Mbit/s, 20ms, 500 KB queue, 1 % loss".
func (l Link) String() string {
	parts := []string{"no limit"}
	if l.Rate > 0 {
		parts[0] = decimal(float64(l.Rate)/1e6) + " Mbit/s"
	}
	parts = append(parts, l.Delay.String())
	if l.Queue > 0 {
		parts = append(parts, decimal(float64(l.Queue)/1e3)+" KB queue")
	}
	return strings.Join(append(parts, decimal(l.Loss*100)+" % loss"), ", ")
}
