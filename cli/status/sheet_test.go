package status

import (
	"bytes"
	"net/netip"
	"slices"
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
       RATE    DELAY  MARKED  DROPPED  FROM               TO           PROTO  WAY  LONGEST  PACKETS
20.0 Mbit/s  0.25 ms       0        0  pc 10.1.1.3:50000  [fd::1]:443  tcp    out   3.0 ms     4000
 1.0 Mbit/s  12.0 ms       7        0  pc 10.1.1.3:50001  [fd::1]:443  tcp    out  80.0 ms      200
 4.0 kbit/s        -       0        9  10.1.1.3           [fd::1]:443  tcp    out        -        1
 4.0 kbit/s        -       0        0  others                                            -       99
`},
		{"dropped", 40, 5, `server tun0: 21.0 Mbit/s, 3 flows, marke
       RATE  DELAY  MARKED  DROPPED  FRO
 4.0 kbit/s      -       0        9  10.
21.0 Mbit/s      -       7        0  oth
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

// A terminal of 80 columns has room for the numbers, and for both ends if these are not of the
// longest IPv6 addresses, of which it shows the beginning.
func TestSheetOfIPv6(t *testing.T) {
	for to, want := range map[string]string{
		"fd00::1": "20.0 Mbit/s  0.25 ms       0        0  [fd::3]:50000  [fd00::1]:443  tcp    out",
		"2001:db8:1234:5678:9abc:def0:1234:5678": "20.0 Mbit/s  0.25 ms       0        0  " +
			"[fd::3]:50000  [2001:db8:1234:5678:9abc:d",
	} {
		flows := someFlows()
		flows.Flows, flows.Others = flows.Flows[:1], status.Crossed{}
		flow := &flows.Flows[0]
		flow.SourceName, flow.Source = "", netip.MustParseAddr("fd::3")
		flow.Destination = netip.MustParseAddr(to)
		var text bytes.Buffer
		s := sheet{page: page{w: &text}, by: orders()["rate"], columns: 80, lines: 20}
		s.report(status.FlowsReport{Hub: &flows})
		lines := strings.Split(text.String(), "\n")
		if got := lines[2]; got != want {
			t.Errorf("shown\n%s\nwant\n%s", got, want)
		}
	}
}

// A line that has all columns is whole on a terminal: its cursor stays on the last character until
// the next, so that clearing from the cursor on would take that character away.
func TestInPlace(t *testing.T) {
	const columns, lines = 8, 4
	terminal := slices.Repeat([][]rune{[]rune("xxxxxxxx")}, lines)
	for i := range terminal {
		terminal[i] = slices.Clone(terminal[i])
	}
	x, y := 3, 3
	clearFrom := func(x, y int) {
		for ; x < columns; x++ {
			terminal[y][x] = ' '
		}
	}
	rest := string(inPlace([]byte("12345678\n123\n12345678\nmore\n"), lines-1))
	for rest != "" {
		after := rest[1:]
		switch {
		case strings.HasPrefix(rest, toTop):
			x, y, after = 0, 0, rest[len(toTop):]
		case strings.HasPrefix(rest, clearLine):
			clearFrom(min(x, columns-1), y)
			after = rest[len(clearLine):]
		case strings.HasPrefix(rest, clearRest):
			clearFrom(min(x, columns-1), y)
			for below := y + 1; below < lines; below++ {
				clearFrom(0, below)
			}
			after = rest[len(clearRest):]
		case rest[0] == '\n': // with \r, as a terminal's driver has it
			x, y = 0, y+1
		default:
			terminal[y][x] = rune(rest[0])
			x++ // columns: the next character wraps
		}
		rest = after
	}
	shown := ""
	for _, line := range terminal {
		shown += string(line) + "|"
	}
	if shown != "12345678|123     |12345678|        |" {
		t.Errorf("the terminal shows %s", shown)
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
