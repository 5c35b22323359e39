package status

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tunnel/admin/status"
	"tunnel/cli/failure"
)

// page is what a person reads. Everything that comes from a client or server is made printable: it
// may have been broken into.
type page struct {
	w       io.Writer
	colored bool // as on a terminal, unless NO_COLOR is set (no-color.org)
}

// Colors of a terminal (ECMA-48 section 8.3.117).
const (
	red    = "31"
	green  = "32"
	yellow = "33"
)

// color returns text, which is printable, in a color.
func (p *page) color(code, text string) string {
	if !p.colored {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// row writes a line of a block.
func (p *page) row(name, text string) {
	_, _ = fmt.Fprintf(p.w, "  %-12s %s\n", name, failure.Printable(cmp.Or(text, "-")))
}

// report writes all that runs. Rates come from the difference to the report before.
func (p *page) report(now, before status.Report) {
	for i := range now.Clients {
		p.client(now.Clients[i], now.Time, sentBefore(now.Clients[i], before))
		_, _ = fmt.Fprintln(p.w)
	}
	if now.Hub != nil {
		p.hub(*now.Hub, now.Time)
		_, _ = fmt.Fprintln(p.w)
		p.peers(now, before)
	}
}

// measured is what a rate is made of: bytes, and when they were counted.
type measured struct {
	status.Bytes
	at time.Time
	ok bool
}

func sentBefore(c status.Client, before status.Report) measured {
	for _, b := range before.Clients {
		if b.Dev == c.Dev && b.Started.Equal(c.Started) {
			return measured{b.Bytes, before.Time, true}
		}
	}
	return measured{}
}

// rates returns the bits a second out and in, "-" if they are not known.
func (m measured) rates(now status.Bytes, at time.Time) (out, in string) {
	passed := at.Sub(m.at).Seconds()
	if !m.ok || passed <= 0 || now.Sent < m.Sent || now.Received < m.Received {
		return "-", "-"
	}
	return bits(float64(now.Sent-m.Sent) / passed), bits(float64(now.Received-m.Received) / passed)
}

// client writes the block of a client.
func (p *page) client(c status.Client, now time.Time, before measured) {
	state := p.color(yellow, "connecting")
	if c.State == status.Connected {
		state = p.color(green, "connected")
	}
	_, _ = fmt.Fprintf(p.w, "client %s: %s for %s, since %s\n", failure.Printable(c.Dev), state,
		age(now, c.Since), moment(c.Since))
	if c.Reason != "" {
		p.row("why", c.Reason)
	}
	p.row("server", c.Server)
	if c.Address.IsValid() {
		p.row("address", fmt.Sprintf("%s peer %s, network %s, mtu %d", c.Address, c.Peer, c.Network,
			c.MTU))
	}
	if c.Path != nil {
		path := fmt.Sprintf("%s, %s to %s", cmp.Or(c.Path.Interface, "-"), c.Path.Local, c.Path.Remote)
		if c.Path.Proxy != "" {
			path += ", the proxy " + c.Path.Proxy
		}
		p.row("path", path)
	}
	for _, l := range c.Connections {
		p.row(fmt.Sprintf("lane %d", l.Lane), connection(l))
	}
	out, in := before.rates(c.Bytes, now)
	p.row("sent", fmt.Sprintf("%s, %s; waiting %s", size(c.Sent), out, size(uint64(max(c.Queued, 0)))))
	p.row("received", fmt.Sprintf("%s, %s", size(c.Received), in))
	p.row("drops", counts(c.Drops))
	p.row("routes", prefixes(c.Routes.Taken))
	if len(c.Routes.Refused) > 0 {
		p.row("refused", prefixes(c.Routes.Refused)+": see --accept")
	}
	p.row("dns", names(c.DNS))
	p.row("kill switch", onOff(c.KillSwitch)+", full tunnel "+onOff(c.FullTunnel))
	p.row("run", fmt.Sprintf("since %s, %s lost, version %s", moment(c.Started),
		count(int(min(c.Lost, 1<<30)), "session"), c.Version))
}

// connection describes one TCP connection.
func connection(l status.Connection) string {
	secured := "no TLS"
	if l.TLS != "none" {
		secured = "TLS " + l.TLS + " " + l.Exchange
	}
	return fmt.Sprintf("%s, %s, round trip %s (least %s), %s, last rate %s", secured, l.Congestion,
		milliseconds(l.RTT), milliseconds(l.MinRTT), loss(l), bits(float64(l.Rate)))
}

// loss returns how much of what was sent had to be sent again.
func loss(l status.Connection) string {
	if l.Segments == 0 {
		return "nothing lost"
	}
	return fmt.Sprintf("%.2f %% sent again", 100*float64(l.Resent)/float64(l.Segments))
}

// hub writes the block of a server, without its clients.
func (p *page) hub(h status.Hub, now time.Time) {
	_, _ = fmt.Fprintf(p.w, "server %s: %s %s, up %s, since %s\n", failure.Printable(h.Dev),
		p.color(green, fmt.Sprint(len(h.Peers))), plural(len(h.Peers), "client"),
		age(now, h.Started), moment(h.Started))
	p.row("network", fmt.Sprintf("%s, this machine is %s", h.Network, h.Address))
	p.row("drops", counts(h.Drops))
	p.row("refused", counts(h.Refused))
	for _, l := range h.Limits {
		text := fmt.Sprintf("%s %d of %d", l.Name, l.Used, l.Most)
		code := ""
		if l.Near() {
			code, text = red, text+", near the limit"
		}
		text = failure.Printable(text)
		if code != "" {
			text = p.color(code, text)
		}
		_, _ = fmt.Fprintf(p.w, "  %-12s %s\n", "limit", text)
	}
	if h.Defects > 0 {
		p.row("defects", fmt.Sprintf("%d, see the log", h.Defects))
	}
	p.row("version", h.Version)
}

// peers writes a table of a server's clients.
func (p *page) peers(now, before status.Report) {
	known := map[netip.Addr]status.Peer{}
	if before.Hub != nil {
		for _, b := range before.Hub.Peers {
			known[b.Address] = b
		}
	}
	table := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "NAME\tADDRESS\tFROM\tSINCE\tLAST SEEN\tLANES\tROUND TRIP\t"+
		"SENT\tOUT\tRECEIVED\tIN\tWAITING\tDROPS")
	for _, peer := range now.Hub.Peers {
		b, ok := known[peer.Address]
		last := measured{b.Bytes, before.Time, ok && b.Since.Equal(peer.Since)}
		out, in := last.rates(peer.Bytes, now.Time)
		trip := "-"
		if len(peer.Connections) > 0 {
			trip = milliseconds(peer.Connections[0].RTT)
		}
		cells := []string{cmp.Or(peer.Name, "-"), peer.Address.String(), peer.Remote,
			moment(peer.Since), age(now.Time, peer.Seen) + " ago",
			fmt.Sprint(len(peer.Connections)), trip, size(peer.Sent), out, size(peer.Received), in,
			size(uint64(max(peer.Queued, 0))), counts(peer.Drops)}
		for i := range cells {
			cells[i] = failure.Printable(cells[i])
		}
		_, _ = fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	_ = table.Flush()
}

// counts returns the counts that are not zero, the largest first.
func counts(all map[string]uint64) string {
	names := slices.Sorted(maps.Keys(all))
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(all[b], all[a]) })
	var texts []string
	for _, name := range names {
		if all[name] > 0 {
			texts = append(texts, fmt.Sprintf("%s %d", name, all[name]))
		}
	}
	return cmp.Or(strings.Join(texts, ", "), "none")
}
