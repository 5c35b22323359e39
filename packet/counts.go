package packet

import (
	"log/slog"
	"sync/atomic"
)

// LogCounts returns a group for a log line: the number of dropped packets for each reason, by name.
// Reason 0, passed, is not counted.
func LogCounts[R ~int](counts []atomic.Uint64, name func(R) string) slog.Value {
	var attrs []slog.Attr
	for r := 1; r < len(counts); r++ {
		attrs = append(attrs, slog.Uint64(name(R(r)), counts[r].Load()))
	}
	return slog.GroupValue(attrs...)
}
