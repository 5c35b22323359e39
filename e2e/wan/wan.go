// Package wan emulates a long path between two hosts of a lab: a rate, a delay, random loss and a
// drop-tail queue in each direction. It runs in user space, on a TAP device in each host, because
// not every kernel has netem.
//
// The devices have no offloads, so what crosses the line are Ethernet frames with packets of at
// most 1500 bytes, as on a real one.
package wan

import (
	"strings"
	"sync"
	"time"

	"tunnel/e2e/lab"
)

// Link says how one direction of a line behaves. The zero value is a line that is as fast as the
// machine.
type Link struct {
	Rate  int64         // bit/s of Ethernet frames; 0 is no limit
	Delay time.Duration // from the last bit sent to the frame's arrival: one way
	// bytes that wait for their turn to be sent, beyond which frames drop; 0 is no limit
	Queue int
	// share of frames lost on the way, 0 to 1; ARP is spared, since a lost question costs a second
	Loss float64
	Seed uint64 // of the loss: the frames' order and it alone decide which are lost
	Hole bool   // everything vanishes, and nobody is told
}

// Stats counts frames of one direction.
type Stats struct {
	Passed  uint64 // delivered
	Bytes   uint64 // in frames that were delivered
	Dropped uint64 // found the queue full
	Lost    uint64 // lost by chance
	Holed   uint64 // swallowed by a hole or an unplugged cable
}

// txqueuelen is the devices' own queue, in frames. It must not be the one that overflows: the
// emulator's is.
const txqueuelen = "20000"

// Emulator is a line between two hosts. It ends with the test.
type Emulator struct {
	a, b     tap
	up, down *pump
}

// Connect joins two hosts by a line, up from a to b and down from b to a. Each end is an Ethernet
// device with the address given in CIDR form; an empty one leaves it without.
func Connect(t lab.TB, a, b *lab.Host, aCIDR, bCIDR string, up, down Link) *Emulator {
	t.Helper()
	e := &Emulator{a: openEnd(t, a, aCIDR), b: openEnd(t, b, bCIDR)}
	e.up = startPump(t, e.a, e.b, up, 0)
	e.down = startPump(t, e.b, e.a, down, 1)
	return e
}

// openEnd makes a device in a host and takes it up.
func openEnd(t lab.TB, h *lab.Host, cidr string) tap {
	t.Helper()
	var end tap
	err := h.Do(func() (err error) {
		end, err = openTap()
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

// startPump starts one direction; it stops before the devices close.
func startPump(t lab.TB, from, to tap, link Link, direction uint64) *pump {
	t.Helper()
	p, err := newPump(from.fd, to.fd, link, direction)
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

// Set changes how the line behaves, from the next frame on. What the queue holds leaves at the pace
// at which it came in.
func (e *Emulator) Set(up, down Link) {
	e.up.set(up)
	e.down.set(down)
}

// Hole makes the line swallow everything in both directions, or lets it pass again. Both ends keep
// their carrier.
func (e *Emulator) Hole(on bool) {
	for _, p := range []*pump{e.up, e.down} {
		p.change(func(l *line) { l.link.Hole = on })
	}
}

// Plug pulls the cable out of both ends, or puts it back: the devices lose their carrier, and what
// is on the way is lost.
func (e *Emulator) Plug(in bool) error {
	for _, p := range []*pump{e.up, e.down} {
		p.change(func(l *line) { l.unplugged = !in })
	}
	if err := e.a.carrier(in); err != nil {
		return err
	}
	return e.b.carrier(in)
}

// Stats returns what happened so far.
func (e *Emulator) Stats() (up, down Stats) { return e.up.stats(), e.down.stats() }

// String describes a link for a person: "100 Mbit/s, 20ms, 500 KB queue, 1 % loss".
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
