package status

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"tunnel/admin/status"
	"tunnel/admin/units"
	"tunnel/cli/failure"
)

// order compares two flows: which is shown first.
type order func(a, b status.Flow) int

// orders returns the values of --sort.
func orders() map[string]order {
	return map[string]order{
		"rate":    func(a, b status.Flow) int { return cmp.Compare(b.Bytes, a.Bytes) },
		"packets": func(a, b status.Flow) int { return cmp.Compare(b.Packets, a.Packets) },
		"delay":   func(a, b status.Flow) int { return cmp.Compare(b.Delay, a.Delay) },
		"marked":  func(a, b status.Flow) int { return cmp.Compare(b.Marked, a.Marked) },
		"dropped": func(a, b status.Flow) int { return cmp.Compare(b.Dropped, a.Dropped) },
	}
}

func sortKeys() []string { return slices.Sorted(maps.Keys(orders())) }

// sheet is what `tunnel top` shows to people.
type sheet struct {
	page
	by      order
	columns int // to which lines are cut; 0 for no limit
	lines   int // for all of a report; 0 for no limit
}

// blockLines is the number of lines that a block has beside its flows.
const blockLines = 4

// report writes the flows of all that runs.
func (s *sheet) report(r status.FlowsReport) {
	blocks := len(r.Clients)
	if r.Hub != nil {
		blocks++
	}
	most := 0
	if s.lines > 0 {
		most = max(s.lines/max(blocks, 1)-blockLines, 1)
	}
	for i, f := range r.Clients {
		if i > 0 {
			s.line("", "")
		}
		s.block("client", f, most)
	}
	if r.Hub != nil {
		if len(r.Clients) > 0 {
			s.line("", "")
		}
		s.block("server", *r.Hub, most)
	}
}

// block writes the flows of a client or server, at most most; 0 for no limit.
func (s *sheet) block(kind string, f status.Flows, most int) {
	s.line(green, fmt.Sprintf("%s %s: %s, %s, marked %d, dropped %d in %.1f s", kind, f.Dev,
		s.rate(f, f.Total), count(len(f.Flows), "flow"), f.Total.Marked, f.Total.Dropped, f.Seconds))
	slices.SortStableFunc(f.Flows, s.by)
	cells := [][]string{{"RATE", "DELAY", "MARKED", "DROPPED", "FROM", "TO", "PROTO", "WAY",
		"LONGEST", "PACKETS"}}
	colors := []string{""}
	rest, hidden := f.Others, 0
	for i, flow := range f.Flows {
		if most > 0 && i >= most {
			hidden++
			rest.Add(flow.Crossed)
			continue
		}
		cells = append(cells, s.row(f, flow.Crossed, units.Milliseconds(flow.Delay),
			units.Milliseconds(flow.MaxDelay),
			end(flow.SourceName, flow.Source, flow.SourcePort),
			end(flow.DestinationName, flow.Destination, flow.DestinationPort), flow.Protocol, flow.Way))
		colors = append(colors, colorOf(flow.Crossed))
	}
	if rest != (status.Crossed{}) {
		text := "others"
		if hidden > 0 {
			text = "others, " + count(hidden, "flow")
		}
		cells = append(cells, s.row(f, rest, "-", "-", text, "", "", ""))
		colors = append(colors, colorOf(rest))
	}
	for i, line := range aligned(cells) {
		s.line(colors[i], line)
	}
}

// row returns the cells of what has crossed between two ends. The ends are as long as addresses and
// names are: what a terminal has to have room for comes before them.
func (s *sheet) row(f status.Flows, c status.Crossed, delay, longest, from, to, protocol,
	way string) []string {
	return []string{s.rate(f, c), delay, fmt.Sprint(c.Marked), fmt.Sprint(c.Dropped), from, to,
		protocol, way, longest, fmt.Sprint(c.Packets)}
}

func (s *sheet) rate(f status.Flows, c status.Crossed) string {
	if f.Seconds <= 0 {
		return "-"
	}
	return units.Bits(float64(c.Bytes) / f.Seconds)
}

// end returns one end of a flow, for people.
func end(name string, a netip.Addr, port uint16) string {
	text := a.String()
	if port != 0 {
		text = netip.AddrPortFrom(a, port).String()
	}
	if name != "" {
		text = name + " " + text
	}
	return text
}

// colorOf returns the color of a line, "" for none.
func colorOf(c status.Crossed) string {
	switch {
	case c.Dropped > 0:
		return red
	case c.Marked > 0:
		return yellow
	}
	return ""
}

// line writes a line in a color, as much as there is room for. What comes from clients is made
// printable.
func (s *sheet) line(code, text string) {
	text = failure.Printable(text)
	if s.columns > 0 && utf8.RuneCountInString(text) > s.columns {
		text = string([]rune(text)[:s.columns])
	}
	text = strings.TrimRight(text, " ")
	if code != "" {
		text = s.color(code, text)
	}
	_, _ = fmt.Fprintln(s.w, text)
}

// The columns of a table from firstText to lastText are aligned to the left; the others have
// numbers.
const firstText, lastText = 4, 7

// aligned returns the lines of a table.
func aligned(cells [][]string) (lines []string) {
	widths := make([]int, len(cells[0]))
	for _, row := range cells {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(failure.Printable(cell)))
		}
	}
	for _, row := range cells {
		var line strings.Builder
		for i, cell := range row {
			width := widths[i]
			if firstText <= i && i <= lastText {
				width = -width
			}
			_, _ = fmt.Fprintf(&line, "%*s  ", width, failure.Printable(cell))
		}
		lines = append(lines, line.String())
	}
	return lines
}
