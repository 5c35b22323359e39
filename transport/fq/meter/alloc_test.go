//go:build !race

package meter

import "testing"

// Counting allocates nothing for a packet.
func TestAllocates(t *testing.T) {
	m := new(Meter)
	m.add(new(table))
	p := datagram(1000, 1, 53)
	if n := testing.AllocsPerRun(1000, func() {
		m.Tap().Sent(p, 0)
		m.Marked(p)
		m.Dropped(p)
	}); n != 0 {
		t.Errorf("counting a packet allocates %v times", n)
	}
}
