package server

import "testing"

// Unauthenticated connections take no more than a part of the memory that there may be.
func TestCapacity(t *testing.T) {
	l := defaultLimits()
	for _, c := range []struct {
		memory int64
		want   int
	}{{0, l.unknown}, {1, leastCapacity}, {32 << 20, 512}, {1 << 40, l.unknown}} {
		if got := l.capacity(l.unknown, c.memory); got != c.want {
			t.Errorf("room for %d in %d bytes; want %d", got, c.memory, c.want)
		}
	}
}
