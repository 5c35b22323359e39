package packet

import (
	"log/slog"
	"sync/atomic"
)

// LogCounts returns a group for a log line: what has been counted for each reason to drop a packet, by its name.
// Reason 0 is that it passed; nobody counts those.
func LogCounts[R ~int](counts []atomic.Uint64, name func(R) string) slog.Value {
	var attrs []slog.Attr
	for r := 1; r < len(counts); r++ {
		attrs = append(attrs, slog.Uint64(name(R(r)), counts[r].Load()))
	}
	return slog.GroupValue(attrs...)
}
