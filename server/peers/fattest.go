package peers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fattest returns the names of the n tokens with the largest queues, for a log line.
func (t *Table) Fattest(n int) string {
	type holder struct {
		name  string
		peers int
		bytes int64
	}
	byToken := map[string]*holder{}
	for _, p := range t.All() {
		h := byToken[p.Token.ID]
		if h == nil {
			h = &holder{name: p.Token.Name}
			byToken[p.Token.ID] = h
		}
		h.peers++
		h.bytes += p.Queue.Held()
	}
	var all []*holder
	for _, h := range byToken {
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b *holder) int { return cmp.Compare(b.bytes, a.bytes) })
	var text []string
	for _, h := range all[:min(len(all), n)] {
		text = append(text, fmt.Sprintf("%s: %d KiB in %d sessions", h.name, h.bytes>>10, h.peers))
	}
	return strings.Join(text, ", ")
}
