package status

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"tunnel/transport/fq/meter"
)

// FlowsReport is what crosses all that runs on a machine, in one network namespace.
type FlowsReport struct {
	Schema  int       `json:"schema"`
	Time    time.Time `json:"time"`          // of the answer
	Hub     *Flows    `json:"hub,omitempty"` // nil if none runs
	Clients []Flows   `json:"clients"`       // by their devices
}

// Flows are the flows of a client or hub while it was asked for them.
type Flows struct {
	Dev     string  `json:"dev"`
	Seconds float64 `json:"seconds"` // how long they were measured
	Flows   []Flow  `json:"flows"`   // at most meter.MostFlows; those with most bytes come first
	Total   Crossed `json:"total"`
	Others  Crossed `json:"others"` // of total, what was not counted for one of flows
}

// Flow is one direction of what two ends send each other.
type Flow struct {
	// "out": to the hub, or to a client; "in": to this machine
	Way             string     `json:"way"`
	Protocol        string     `json:"protocol"` // "tcp", "udp", "icmp", "icmpv6", or its number
	Source          netip.Addr `json:"source"`
	SourcePort      uint16     `json:"source_port"`           // 0 for none
	SourceName      string     `json:"source_name,omitempty"` // of the client that has it
	Destination     netip.Addr `json:"destination"`
	DestinationPort uint16     `json:"destination_port"`
	DestinationName string     `json:"destination_name,omitempty"`
	Crossed
	// in the queue, of packets that were sent; 0 for none, as on the way in
	Delay    float64 `json:"queue_delay_ms"`
	MaxDelay float64 `json:"queue_delay_max_ms"`
}

// Crossed counts what was sent or received, marked and dropped.
type Crossed struct {
	Bytes   uint64 `json:"bytes"` // of IP packets with their headers
	Packets uint64 `json:"packets"`
	Marked  uint64 `json:"marked"`  // packets with Congestion Experienced, by a queue of this program
	Dropped uint64 `json:"dropped"` // packets, by a queue of this program
}

// FlowsOf returns what was measured, without a device. name returns the name of the client that has
// an address, "" for none.
func FlowsOf(m meter.Flows, name func(netip.Addr) string) Flows {
	all := Flows{Seconds: m.Took.Seconds(), Flows: []Flow{}, Total: Crossed(m.Total),
		Others: Crossed(m.Others)}
	for _, f := range m.Flows {
		way := "in"
		if f.Way == meter.Out {
			way = "out"
		}
		all.Flows = append(all.Flows, Flow{Way: way, Protocol: protocol(f.Protocol),
			Source: f.Source, SourcePort: f.SourcePort, SourceName: name(f.Source),
			Destination: f.Destination, DestinationPort: f.DestinationPort,
			DestinationName: name(f.Destination), Crossed: Crossed(f.Count),
			Delay: milliseconds(f.Delay), MaxDelay: milliseconds(f.MaxDelay)})
	}
	slices.SortFunc(all.Flows, func(a, b Flow) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return all
}

// protocol returns the name of an IP protocol (IANA).
func protocol(number uint8) string {
	switch number {
	case 1:
		return "icmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 58:
		return "icmpv6"
	}
	return strconv.Itoa(int(number))
}

// Add adds more to c.
func (c *Crossed) Add(more Crossed) {
	c.Bytes += more.Bytes
	c.Packets += more.Packets
	c.Marked += more.Marked
	c.Dropped += more.Dropped
}
