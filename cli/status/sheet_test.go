package status

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tunnel/admin/status"
)

func someFlows() status.Flows {
	at := netip.MustParseAddr
	flow := func(name string, port uint16, c status.Crossed, delay, longest float64) status.Flow {
		return status.Flow{Way: "out", Protocol: "tcp", Source: at("10.1.1.3"), SourceName: name,
			SourcePort: port, Destination: at("fd::1"), DestinationPort: 443, Crossed: c, Delay: delay,
			MaxDelay: longest}
	}
	return status.Flows{Dev: "tun0", Seconds: 2, Flows: []status.Flow{
		flow("pc", 50000, status.Crossed{Bytes: 5_000_000, Packets: 4000}, 0.25, 3),
		flow("pc", 50001, status.Crossed{Bytes: 250_000, Packets: 200, Marked: 7}, 12, 80),
		flow("", 0, status.Crossed{Bytes: 1000, Packets: 1, Dropped: 9}, 0, 0),
	}, Total: status.Crossed{Bytes: 5_252_000, Packets: 4300, Marked: 7, Dropped: 9},
		Others: status.Crossed{Bytes: 1000, Packets: 99}}
}

// The flows that have most of the key come first; what has no room is one line with what is in no
// flow; lines are cut to the columns.
func TestSheet(t *testing.T) {
	for _, c := range []struct {
		by             string
		columns, lines int
		want           string
	}{
		{"rate", 0, 0, `server tun0: 21.0 Mbit/s, 3 flows, marked 7, dropped 9 in 2.0 s
FROM               TO           PROTO  WAY         RATE    DELAY  MARKED  DROPPED  LONGEST  PACKETS
pc 10.1.1.3:50000  [fd::1]:443  tcp    out  20.0 Mbit/s  0.25 ms       0        0   3.0 ms     4000
pc 10.1.1.3:50001  [fd::1]:443  tcp    out   1.0 Mbit/s  12.0 ms       7        0  80.0 ms      200
10.1.1.3           [fd::1]:443  tcp    out   4.0 kbit/s        -       0        9        -        1
others                                       4.0 kbit/s        -       0        0        -       99
`},
		{"dropped", 40, 5, `server tun0: 21.0 Mbit/s, 3 flows, marke
FROM             TO           PROTO  WAY
10.1.1.3         [fd::1]:443  tcp    out
others, 2 flows
`},
	} {
		var text bytes.Buffer
		flows := someFlows()
		s := sheet{page: page{w: &text}, by: orders()[c.by], columns: c.columns, lines: c.lines}
		s.report(status.FlowsReport{Hub: &flows})
		if text.String() != c.want {
			t.Errorf("by %s:\n%s\nwant\n%s", c.by, &text, c.want)
		}
	}
	for _, key := range sortKeys() {
		all := someFlows().Flows
		if by := orders()[key]; by(all[0], all[0]) != 0 {
			t.Errorf("%s: a flow comes before itself", key)
		}
	}
}

// Several blocks share the lines of a terminal, and names from clients make no lines.
func TestSheetOfSeveral(t *testing.T) {
	var text bytes.Buffer
	flows := someFlows()
	flows.Flows[0].SourceName = hostile
	flows.Flows[1].Protocol, flows.Flows[1].Way, flows.Dev = hostile, hostile, hostile
	s := sheet{page: page{w: &text}, by: orders()["rate"], columns: 80, lines: 20}
	s.report(status.FlowsReport{Time: time.Now(), Hub: &flows, Clients: []status.Flows{flows, flows}})
	if n := strings.Count(text.String(), "\n"); n > 20 {
		t.Errorf("%d lines of 20", n)
	}
	for _, r := range text.String() {
		if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == '\u202e' {
			t.Errorf("%q is printed", r)
		}
	}
}
