package through

import (
	"tunnel/bench/contender"
	"tunnel/bench/report"
)

// Name is the name of the group of figures.
const Name = "hub"

// The figures' ids.
const (
	figLAN         = "hub-lan"
	figPlain       = "hub-plain"
	figClient      = "hub-client"
	figCheckStream = "check-stream"
	figCheckFlood  = "check-flood"
)

// Figures returns the figures of the group.
func Figures() []report.Figure {
	return []report.Figure{
		{ID: figLAN, Title: "one stream to a host behind the hub ÷ to the hub", Higher: true},
		{ID: figPlain, Title: "one stream to a host behind the hub ÷ the same with plain " +
			"forwarding", Higher: true},
		{ID: figClient, Title: "one stream to another client ÷ to the hub", Higher: true},
		{ID: figCheckStream, Title: "one stream ÷ with no packet judged", Higher: true},
		{ID: figCheckFlood, Title: "64-byte UDP flood ÷ with no packet judged", Higher: true},
	}
}

// Group returns the group.
func Group() report.Group {
	return report.Group{
		Name: Name, Title: "Through the hub",
		Explain: "Two clients and the hub on a switch, and a host on a link of its own behind the " +
			"hub, whose network it pushes. One TCP stream from a client to the hub, to that host " +
			"and to the other client, in turns, six times. Plain forwarding is the same stream in " +
			"hosts of the same kind where the hub pushes nothing: its kernel sends on, by a rule " +
			"that is not the program's, what the program takes for the hub's own. The last two " +
			"figures compare the program with a build whose hub and client let every packet pass " +
			"without looking at it, in turns, six times.",
		Plots: []report.Plot{
			{File: "hub", Title: "One stream through the hub",
				IDs: []string{figLAN, figPlain, figClient}},
			{File: "check", Title: "With every packet judged ÷ without",
				IDs: []string{figCheckStream, figCheckFlood}},
		},
	}
}

// Targets returns the group's targets.
func Targets() (list []report.Target) {
	for _, c := range []string{contender.NameWS, contender.NameWSS} {
		list = append(list,
			report.Target{What: "client to hub to LAN host ÷ with plain forwarding, " + c + "://",
				Figure: figPlain, Contender: c, Bound: 0.8, AtLeast: true},
			report.Target{What: "client to hub to client ÷ client to hub, " + c + "://",
				Figure: figClient, Contender: c, Bound: 0.55, AtLeast: true})
	}
	return append(list,
		report.Target{What: "one stream ÷ with no packet judged, ws://", Figure: figCheckStream,
			Contender: contender.NameWS, Bound: 0.97, AtLeast: true},
		report.Target{What: "64-byte UDP flood ÷ with no packet judged, ws://", Figure: figCheckFlood,
			Contender: contender.NameWS, Bound: 0.97, AtLeast: true})
}
