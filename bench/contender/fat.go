package contender

import (
	"time"

	"tunnel/e2e/wan"
)

// FatLink is a link with a large bandwidth-delay product.
type FatLink struct {
	ID      string // name of its group, and prefix of the ids of its figures
	Title   string
	Link    wan.Link // of each direction
	Up      float64  // target for the goodput of one stream, Mbit/s
	Several float64  // target for that of four streams, in either direction
	RTT     float64  // target for the mean round trip under four streams, ms; 0 is none
}

// FatLinks returns these links. Each has a queue of one bandwidth-delay product.
func FatLinks() []FatLink {
	const far, near = 50 * time.Millisecond, 10 * time.Millisecond
	return []FatLink{
		{
			ID: "fat0", Title: "500 Mbit/s, 100 ms, no loss",
			Link: wan.Link{Rate: 500e6, Delay: far, Queue: 6.25e6},
			Up:   400, Several: 450, RTT: 125,
		},
		{
			ID: "fat01", Title: "500 Mbit/s, 100 ms, 0.1 % loss",
			Link: wan.Link{Rate: 500e6, Delay: far, Queue: 6.25e6, Loss: 0.001},
			Up:   250, Several: 350,
		},
		{
			ID: "gigabit", Title: "1 Gbit/s, 20 ms, no loss",
			Link: wan.Link{Rate: 1e9, Delay: near, Queue: 2.5e6},
			Up:   880, Several: 880, RTT: 45,
		},
	}
}

// Figure returns the id of a figure of the link.
func (l FatLink) Figure(what string) string { return l.ID + "-" + what }
