package admission

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// An attack is logged when it begins, then once a window, and when it is over, with its sources.
func TestAttackLines(t *testing.T) {
	c := newClock()
	var log bytes.Buffer
	a := newAttack(slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return c.now })
	lines := func() int { return strings.Count(log.String(), "\n") }
	for i := range attackFrom - 1 {
		a.note(Evicted, from(fmt.Sprintf("192.0.2.%d", i%10)))
	}
	for range 1000 {
		a.note(Silent, from("192.0.2.1"))
	}
	c.pass(attackWindow)
	for range 50 {
		a.note(Evicted, from("192.0.2.1"))
	}
	a.logWindow()
	if lines() != 0 || len(a.wake) != 0 {
		t.Fatalf("that was no attack:\n%s", &log)
	}
	c.pass(attackWindow)
	for i := range 100_000 { // from ever new networks, with two that stand out
		switch i % 10 {
		case 0, 1, 2, 3, 4, 5:
			a.note(Rate, from("198.51.100.1"))
		case 6, 7:
			a.note(Evicted, from(fmt.Sprintf("2001:db8:0:%x::1", i%6)))
		default:
			a.note(Late, from(fmt.Sprintf("2001:db8:%x::1", i%0x10000)))
		}
	}
	if len(a.wake) != 1 {
		t.Error("the log is not woken")
	}
	c.pass(time.Second)
	a.logWindow()
	text := log.String()
	for _, want := range []string{"level=WARN", "under attack", "turned_away=100000", "within=1s",
		`most_from="198.51.100.0/24 60%, 2001:db8::/48 `,
		"evicted=20000", "over_rate=60000", "no_processor_time=20000"} {
		if !strings.Contains(text, want) || lines() != 1 {
			t.Errorf("want %s in\n%s", want, text)
		}
	}
	if n := len(a.tally.networks); n > networksMost {
		t.Errorf("%d networks are counted", n)
	}
	c.pass(attackWindow)
	a.logWindow()
	if !strings.Contains(log.String(), "the attack is over") ||
		!strings.Contains(log.String(), "turned_away=100000") || lines() != 2 {
		t.Errorf("the log is\n%s", &log)
	}
	c.pass(attackWindow)
	a.logWindow()
	if lines() != 2 {
		t.Errorf("the log is\n%s", &log)
	}
}

// The estimate of the number of sources is within 5 %.
func TestTallyDistinct(t *testing.T) {
	for _, n := range []int{1, 6, 100, 5000, 50000} {
		var tally tally
		for i := range n * 3 {
			tally.add(Rate,
				netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i % n >> 16), byte(i % n >> 8),
					byte(i % n)}), 32))
		}
		if got := tally.distinct(); got < n*95/100 || got > n*105/100+1 {
			t.Errorf("%d sources are counted as %d", n, got)
		}
	}
}
