package client

import (
	"slices"

	"tunnel/client/report"
)

// Live returns the client's present connections and counters. It may be called at any time.
func (c *Client) Live() report.Live {
	m := c.monitor
	m.mu.Lock()
	defer m.mu.Unlock()
	live := report.Live{Conns: slices.Clone(m.conns), Past: m.past, Queue: c.queue, Drops: &c.drops,
		Meter: c.meter}
	if len(m.conns) > 0 {
		live.Interface = m.nextHops[m.conns[0].Hop()].Dev
	}
	return live
}
