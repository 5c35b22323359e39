package units

import (
	"testing"
	"time"
)

func TestUnits(t *testing.T) {
	for got, want := range map[string]string{
		Size(0): "0 B", Size(1023): "1023 B", Size(1 << 10): "1.0 KiB", Size(3 << 29): "1.5 GiB",
		Size(1<<64 - 1): "16.0 EiB",
		Bits(0):         "0 bit/s", Bits(125): "1.0 kbit/s", Bits(1.25e9): "10.00 Gbit/s",
		Milliseconds(0): "-", Milliseconds(41.26): "41.3 ms", Milliseconds(0.047): "0.05 ms",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	now := time.Now()
	for d, want := range map[time.Duration]string{-time.Second: "0s", 59 * time.Second: "59s",
		90 * time.Second: "1m30s", 3*time.Hour + 2*time.Minute: "3h2m", 50 * time.Hour: "2d2h"} {
		if got := Age(now, now.Add(-d)); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
