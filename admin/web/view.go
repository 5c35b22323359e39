package web

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tunnel/admin/status"
	"tunnel/admin/units"
	"tunnel/auth"
	"tunnel/server"
)

// maxRows is the most clients, or tokens, that one page shows: those that send and receive most, or
// the first by name. The filter finds the others.
const maxRows = 200

// live is the part of the overview that changes.
type live struct {
	Filter  string
	Dev     string
	Address string
	Network string
	Version string
	Up      string // since the start

	Clients int
	In, Out quantity
	Drops   count
	Refused count
	Limits  []limit
	Defects uint64

	Chart chart
	Wide  picture
	Slim  picture // the same for a narrow screen

	Rows []peerRow
	More int // rows that are not shown
}

// quantity is a rate and the sum so far.
type quantity struct{ Rate, Sum string }

// count is a sum of counts by reason, the largest first.
type count struct {
	Sum     uint64
	Reasons []reason
}

type reason struct {
	Name  string
	Count uint64
}

type limit struct {
	Name, Used, Most string
	Percent          int
	Near             bool
}

// peerRow is a client.
type peerRow struct {
	Name, Address, Remote, TLS string
	Up, RTT                    string
	Lanes                      int
	In, Out                    quantity
	Drops                      count

	flow  flow
	bytes uint64
}

// liveOf returns what a sample shows with a filter.
func (p *Page) liveOf(s sample, filter string) live {
	h := s.hub
	l := live{Filter: filter, Dev: h.Dev, Address: h.Address.String(), Network: h.Network.String(),
		Version: h.Version, Up: units.Age(s.at, h.Started), Clients: len(h.Peers),
		In: quantityOf(s.total, s.total.In, h.Received), Out: quantityOf(s.total, s.total.Out, h.Sent),
		Drops: countOf(h.Drops), Refused: countOf(h.Refused), Defects: h.Defects,
		Chart: chartOf(s.history),
	}
	for _, one := range h.Limits {
		l.Limits = append(l.Limits, limitOf(one))
	}
	rows := make([]peerRow, 0, len(h.Peers))
	for _, one := range h.Peers {
		rows = append(rows, rowOf(one, s))
	}
	slices.SortStableFunc(rows, func(a, b peerRow) int {
		return cmp.Or(cmp.Compare(b.flow.sum(), a.flow.sum()), cmp.Compare(b.bytes, a.bytes))
	})
	drawn := p.sceneOf(s, rows)
	l.Wide, l.Slim = drawn.wide(), drawn.slim()
	l.Rows, l.More = filtered(rows, filter, func(r peerRow) string {
		return r.Name + " " + r.Address + " " + r.Remote
	})
	slices.SortStableFunc(l.Rows, func(a, b peerRow) int { return strings.Compare(a.Name, b.Name) })
	return l
}

// filtered returns the rows whose text contains a filter, in any case, the first maxRows of them,
// and how many more there are.
func filtered[T any](rows []T, filter string, text func(T) string) (_ []T, more int) {
	filter = strings.ToLower(strings.TrimSpace(filter))
	var all []T
	for _, r := range rows {
		if strings.Contains(strings.ToLower(text(r)), filter) {
			all = append(all, r)
		}
	}
	shown := min(len(all), maxRows)
	return all[:shown], len(all) - shown
}

func rowOf(p status.Peer, s sample) peerRow {
	f := s.peers[p.Address]
	r := peerRow{Name: cmp.Or(p.Name, "client"), Address: p.Address.String(), Remote: p.Remote,
		Up: units.Age(s.at, p.Since), RTT: "-", TLS: "no TLS", Lanes: len(p.Connections),
		In: quantityOf(f, f.In, p.Received), Out: quantityOf(f, f.Out, p.Sent),
		Drops: countOf(p.Drops), flow: f, bytes: p.Received + p.Sent}
	if len(p.Connections) > 0 {
		c := p.Connections[0]
		r.RTT = units.Milliseconds(c.RTT)
		if c.TLS != "none" {
			r.TLS = "TLS " + c.TLS
		}
	}
	return r
}

// quantityOf returns a rate of f and its sum.
func quantityOf(f flow, bytes float64, sum uint64) quantity {
	q := quantity{Rate: "–", Sum: units.Size(sum)}
	if f.Known {
		q.Rate = units.Bits(bytes)
	}
	return q
}

func countOf(all map[string]uint64) (c count) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if n := all[name]; n > 0 {
			c.Sum += n
			c.Reasons = append(c.Reasons, reason{strings.ReplaceAll(name, "_", " "), n})
		}
	}
	slices.SortStableFunc(c.Reasons, func(a, b reason) int { return cmp.Compare(b.Count, a.Count) })
	return c
}

func limitOf(l status.Limit) limit {
	text := func(n int64) string { return fmt.Sprint(n) }
	if strings.HasSuffix(l.Name, "_bytes") {
		text = func(n int64) string { return units.Size(uint64(max(n, 0))) }
	}
	return limit{Name: strings.ReplaceAll(l.Name, "_", " "), Used: text(l.Used), Most: text(l.Most),
		Percent: int(100 * float64(l.Used) / float64(max(l.Most, 1))), Near: l.Near()}
}

// tokenRow is a token.
type tokenRow struct {
	Name, Kind, Address, Networks, Expires, Used string
	Clients                                      int
	Given                                        bool // by a flag: it cannot be revoked
}

// tokenRows returns the tokens that a filter leaves, by name, and how many more there are.
func tokenRows(all []server.TokenStatus, filter string) ([]tokenRow, int) {
	var rows []tokenRow
	for _, t := range all {
		r := tokenRow{Name: t.Name, Kind: kindOf(t.Token), Expires: "never", Used: "never",
			Networks: texts(t.Routes), Clients: len(t.Sessions), Given: t.Given()}
		if t.Address.IsValid() {
			r.Address = t.Address.String()
		}
		switch {
		case t.Expired(time.Now()):
			r.Expires = "has expired"
		case !t.Expires.IsZero():
			r.Expires = "in " + units.Age(t.Expires, time.Now())
		}
		if !t.Used.IsZero() {
			r.Used = units.Age(time.Now(), t.Used) + " ago"
		}
		rows = append(rows, r)
	}
	return filtered(rows, filter, func(r tokenRow) string { return r.Name + " " + r.Networks })
}

func kindOf(t auth.Token) string {
	switch t.Kind {
	case auth.KindJoin:
		return "for one machine, unused"
	case auth.KindCredential:
		return "one machine"
	}
	return "lasting"
}

func texts(all []netip.Prefix) string {
	var words []string
	for _, n := range all {
		words = append(words, n.String())
	}
	return strings.Join(words, ", ")
}
