package observe

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"
)

// reportInterval is the time between two lines of the log about what was dropped and refused.
const reportInterval = 5 * time.Minute

// counts are counters by reason, in groups.
type counts map[string]map[string]uint64

// report logs what was dropped and refused since the last such line, at most one in reportInterval,
// until ctx ends. ask returns the counters. Without any there is no line.
func report(ctx context.Context, ask func() counts, log *slog.Logger) {
	ticker := time.NewTicker(reportInterval)
	defer ticker.Stop()
	for before := ask(); ; {
		select {
		case <-ticker.C:
			before = before.note(ask(), log)
		case <-ctx.Done():
			return
		}
	}
}

// note logs the difference from c to now, if there is any, and returns now.
func (c counts) note(now counts, log *slog.Logger) counts {
	var groups []any
	for _, group := range slices.Sorted(maps.Keys(now)) {
		var more []any
		for _, reason := range slices.Sorted(maps.Keys(now[group])) {
			if n, old := now[group][reason], c[group][reason]; n > old {
				more = append(more, slog.Uint64(reason, n-old))
			}
		}
		if len(more) > 0 {
			groups = append(groups, slog.Group(group, more...))
		}
	}
	if len(groups) > 0 {
		log.Info("dropped or refused lately", append(groups, slog.Duration("within", reportInterval))...)
	}
	return now
}
