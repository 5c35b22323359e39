package status

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"tunnel/packet"
	"tunnel/transport/fq/meter"
)

// Flows have the names of their ends, those with most bytes come first, and what no flow has stays
// apart.
func TestFlowsOf(t *testing.T) {
	laptop, hub := netip.MustParseAddr("10.1.1.3"), netip.MustParseAddr("10.1.1.1")
	got := FlowsOf(meter.Flows{Took: 1500 * time.Millisecond, Flows: []meter.Flow{
		{Flow: packet.Flow{Source: laptop, Destination: hub, Protocol: 1}, Way: meter.In,
			Count: meter.Count{Bytes: 84, Packets: 1}},
		{Flow: packet.Flow{Source: hub, Destination: laptop, SourcePort: 80, DestinationPort: 5000,
			Protocol: 6}, Way: meter.Out, Count: meter.Count{Bytes: 3000, Packets: 3, Marked: 1, Dropped: 2},
			Delay: 1500 * time.Microsecond, MaxDelay: 4 * time.Millisecond},
		{Flow: packet.Flow{Source: laptop, Destination: hub, Protocol: 47}, Way: meter.In},
	}, Total: meter.Count{Bytes: 4000, Packets: 9, Marked: 1, Dropped: 2},
		Others: meter.Count{Bytes: 916, Packets: 5}}, func(a netip.Addr) string {
		if a == laptop {
			return "laptop"
		}
		return ""
	})
	want := Flows{Seconds: 1.5, Flows: []Flow{
		{Way: "out", Protocol: "tcp", Source: hub, SourcePort: 80, Destination: laptop,
			DestinationPort: 5000, DestinationName: "laptop", Crossed: Crossed{3000, 3, 1, 2}, Delay: 1.5,
			MaxDelay: 4},
		{Way: "in", Protocol: "icmp", Source: laptop, SourceName: "laptop", Destination: hub,
			Crossed: Crossed{84, 1, 0, 0}},
		{Way: "in", Protocol: "47", Source: laptop, SourceName: "laptop", Destination: hub},
	}, Total: Crossed{4000, 9, 1, 2}, Others: Crossed{916, 5, 0, 0}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the flows are\n%+v, want\n%+v", got, want)
	}
}
