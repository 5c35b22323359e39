package web

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

const (
	// maxNodes is the most clients in a picture: those with networks behind them, then those that
	// send and receive most.
	maxNodes = 24
	// maxBehind is the most networks behind a client in a picture.
	maxBehind = 4
)

// Sizes, in units of a picture's view box. A node has room for its letters.
const (
	nodeHeight = 34
	rowHeight  = 44
	margin     = 6
	wideWidth  = 960
	column     = 230 // of a node in a wide picture
	slimWidth  = 320
	indent     = 28 // of a node in a slim picture, from what it is behind
	letters    = 26
)

// picture is a drawing of the network. A wide one has the hub, and the networks behind its machine,
// on the left, clients in the middle, and the networks behind them on the right. A slim one is a
// tree from top to bottom.
type picture struct {
	Class         string
	Width, Height int
	Nodes         []node
	Links         []string // paths
	Label         string
}

// node is a box with two lines.
type node struct {
	Class      string
	X, Y, W, H int
	Text, Note string
	Title      string // the whole of both
	TX, Y1, Y2 int    // where the lines are
}

// scene is what is drawn.
type scene struct {
	hub     string   // its address
	sites   []string // behind its machine
	clients []peerRow
	behind  map[string][]network // by the addresses of clients
	more    int                  // clients that are not drawn
	label   string
}

// network is behind a client.
type network struct{ class, text, note string }

// sceneOf returns what is drawn of a sample, whose clients are given with the busiest first.
func (p *Page) sceneOf(s sample, rows []peerRow) scene {
	c := scene{hub: s.hub.Address.String(), sites: p.sites(s), clients: slices.Clone(rows),
		behind: networksBehind(s), more: max(len(rows)-maxNodes, 0),
		label: fmt.Sprintf("This hub, with %d clients; the table below has them", len(rows))}
	slices.SortStableFunc(c.clients, func(a, b peerRow) int {
		return min(len(c.behind[b.Address]), 1) - min(len(c.behind[a.Address]), 1)
	})
	c.clients = c.clients[:len(rows)-c.more]
	slices.SortStableFunc(c.clients, func(a, b peerRow) int { return strings.Compare(a.Name, b.Name) })
	return c
}

// Nodes that are in both pictures.
const (
	hubText  = "this hub"
	siteNote = "behind this hub"
	moreNote = "clients, see the table"
)

func (s scene) moreText() string { return fmt.Sprintf("%d more", s.more) }

// wide draws columns.
func (s scene) wide() picture {
	c := &canvas{picture{Class: "wide", Width: wideWidth, Label: s.label}, column}
	const middle, right = (wideWidth - column) / 2, wideWidth - column - margin
	var ends []int // of the hub's links
	y := margin
	for _, one := range s.clients {
		top := y
		networks := s.behind[one.Address]
		y += max(len(networks), 1) * rowHeight
		own := (top + y - rowHeight) / 2
		for i, n := range networks {
			c.curve(middle+column, own, right, top+i*rowHeight)
			c.box(n.class, right, top+i*rowHeight, n.text, n.note)
		}
		c.box("client", middle, own, one.Name, one.Address)
		ends = append(ends, own)
	}
	if s.more > 0 {
		c.box("more", middle, y, s.moreText(), moreNote)
		ends = append(ends, y)
		y += rowHeight
	}
	needed := (1 + len(s.sites)) * rowHeight
	y = max(y, margin+needed)
	hub := (margin + y - needed) / 2
	c.box("hub", margin, hub, hubText, s.hub)
	for _, end := range ends {
		c.curve(margin+column, hub, middle, end)
	}
	for i, text := range s.sites {
		at := hub + (i+1)*rowHeight
		c.Links = append(c.Links, fmt.Sprintf("M%d %dV%d", margin+14, at-rowHeight+nodeHeight, at))
		c.box("network", margin, at, text, siteNote)
	}
	c.end(y)
	return c.picture
}

// slim draws a tree.
func (s scene) slim() picture {
	c := &canvas{picture{Class: "slim", Width: slimWidth, Label: s.label},
		slimWidth - 2*(indent+margin)}
	y := margin
	add := func(depth, parent int, class, text, note string) (own int) {
		x := margin + depth*indent
		if depth > 0 {
			c.Links = append(c.Links, fmt.Sprintf("M%d %dV%dH%d", x-indent/2, parent+nodeHeight,
				y+nodeHeight/2, x))
		}
		c.box(class, x, y, text, note)
		own, y = y, y+rowHeight
		return own
	}
	hub := add(0, 0, "hub", hubText, s.hub)
	for _, text := range s.sites {
		add(1, hub, "network", text, siteNote)
	}
	for _, one := range s.clients {
		own := add(1, hub, "client", one.Name, one.Address)
		for _, n := range s.behind[one.Address] {
			add(2, own, n.class, n.text, n.note)
		}
	}
	if s.more > 0 {
		add(1, hub, "more", s.moreText(), moreNote)
	}
	c.end(y)
	return c.picture
}

// sites returns what is behind the hub.
func (p *Page) sites(s sample) (all []string) {
	networks, public := p.Networks()
	networks = slices.Clone(networks)
	for _, t := range s.tokens {
		networks = append(networks, t.PushRoutes...)
	}
	slices.SortFunc(networks, netip.Prefix.Compare)
	for _, n := range slices.Compact(networks) {
		all = append(all, n.String())
	}
	if public {
		all = append(all, "internet")
	}
	if most := maxNodes / 2; len(all) > most {
		all = append(all[:most-1], fmt.Sprintf("%d more", len(all)-most+1))
	}
	return all
}

// networksBehind returns the networks behind clients, by their addresses: those that each
// advertises and, with the first client of each token, those that the token allows and nobody
// advertises.
func networksBehind(s sample) map[string][]network {
	all := map[string][]network{}
	routed := map[string][]netip.Prefix{} // by the names of tokens
	first := map[string]string{}          // their addresses
	for _, p := range s.hub.Peers {
		at := p.Address.String()
		for _, n := range p.Networks {
			all[at] = append(all[at], network{"network", n.String(), "behind " + p.Name})
		}
		routed[p.Name] = append(routed[p.Name], p.Networks...)
		if first[p.Name] == "" {
			first[p.Name] = at
		}
	}
	for _, t := range s.tokens {
		at := first[t.Name]
		for _, n := range t.Routes {
			if at != "" && !slices.ContainsFunc(routed[t.Name], n.Overlaps) {
				all[at] = append(all[at], network{"network away", n.String(), "not advertised"})
			}
		}
	}
	for at, networks := range all {
		if more := len(networks) - maxBehind + 1; more > 1 {
			all[at] = append(networks[:maxBehind-1:maxBehind-1],
				network{"more", fmt.Sprintf("%d more", more), "networks behind it"})
		}
	}
	return all
}

// canvas is a picture that is being drawn, with nodes of a width.
type canvas struct {
	picture
	width int
}

func (c *canvas) box(class string, x, y int, text, note string) {
	c.Nodes = append(c.Nodes, node{Class: class, X: x, Y: y, W: c.width, H: nodeHeight,
		Text: shortened(text, letters), Note: shortened(note, letters+4),
		Title: text + ", " + note, TX: x + 10, Y1: y + 15, Y2: y + 27})
}

// curve draws a link from the right of one node to the left of another, which begin at y1 and y2.
func (c *canvas) curve(x1, y1, x2, y2 int) {
	y1, y2 = y1+nodeHeight/2, y2+nodeHeight/2
	bend := (x1 + x2) / 2
	c.Links = append(c.Links, fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, bend, y1, bend, y2, x2,
		y2))
}

// end sets the height, when the next row would be at y.
func (c *canvas) end(y int) { c.Height = y - rowHeight + nodeHeight + margin }

// shortened returns a text of at most n letters.
func shortened(text string, n int) string {
	letters := []rune(text)
	if len(letters) <= n {
		return text
	}
	return string(letters[:n-1]) + "…"
}
