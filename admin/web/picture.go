package web

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// maxNodes is the most clients in a picture: those with networks behind them, then those that send
// and receive most.
const maxNodes = 24

// geometry is that of a picture, in units of its view box.
type geometry struct {
	width, column int // of all, and of a node
	letters       int // that fit into a node
}

//nolint:gochecknoglobals // they are constants
var (
	wide = geometry{width: 780, column: 200, letters: 27}
	slim = geometry{width: 340, column: 104, letters: 15}
)

// Heights, in the same units.
const (
	nodeHeight = 34
	rowHeight  = 44
	margin     = 6
)

// picture is a drawing of the network: the networks behind this machine and the hub on the left,
// clients in the middle, and the networks behind them on the right.
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

// pictureOf draws a sample, whose clients are given with the busiest first.
func (p *Page) pictureOf(s sample, rows []peerRow, g geometry) picture {
	behind := networksBehind(s)
	clients := slices.Clone(rows)
	slices.SortStableFunc(clients, func(a, b peerRow) int {
		return min(len(behind[b.Name]), 1) - min(len(behind[a.Name]), 1)
	})
	more := max(len(clients)-maxNodes, 0)
	clients = clients[:len(clients)-more]
	slices.SortStableFunc(clients, func(a, b peerRow) int { return strings.Compare(a.Name, b.Name) })

	c := &canvas{geometry: g, picture: picture{Class: "wide", Width: g.width}}
	if g == slim {
		c.Class = "slim"
	}
	middle, right := (g.width-g.column)/2, g.width-g.column-margin
	var at []int // where the hub's links end
	y := margin
	for _, one := range clients {
		top := y
		networks := behind[one.Name]
		for _, n := range networks {
			c.box("network", right, y, n.String(), "behind "+one.Name)
			y += rowHeight
		}
		y = max(y, top+rowHeight)
		own := (top + y - rowHeight) / 2
		for i := range networks {
			c.link(middle+g.column, own, right, top+i*rowHeight)
		}
		c.box("client", middle, own, one.Name, one.Address)
		at = append(at, own)
	}
	if more > 0 {
		c.box("more", middle, y, fmt.Sprintf("%d more", more), "clients, see below")
		at = append(at, y)
		y += rowHeight
	}
	sites := p.sites(s)
	needed := (1 + len(sites)) * rowHeight
	y = max(y, needed+margin)
	hub := margin + (y-margin-needed)/2
	c.box("hub", margin, hub, "this hub", s.hub.Address.String())
	for _, to := range at {
		c.link(margin+g.column, hub, middle, to)
	}
	for i, text := range sites {
		c.down(hub, hub+(i+1)*rowHeight)
		c.box("network", margin, hub+(i+1)*rowHeight, text, "behind this hub")
	}
	c.Height = y - rowHeight + nodeHeight + margin
	c.Label = fmt.Sprintf("This hub, with %d clients; the table below has them all", len(rows))
	return c.picture
}

// sites returns what is behind the hub.
func (p *Page) sites(s sample) (all []string) {
	networks := slices.Clone(p.Networks)
	for _, t := range s.tokens {
		networks = append(networks, t.PushRoutes...)
	}
	slices.SortFunc(networks, netip.Prefix.Compare)
	for _, n := range slices.Compact(networks) {
		all = append(all, n.String())
	}
	if p.Public {
		all = append(all, "internet")
	}
	if most := maxNodes / 2; len(all) > most {
		all = append(all[:most-1], fmt.Sprintf("%d more", len(all)-most+1))
	}
	return all
}

// networksBehind returns the networks of the tokens whose clients are connected, by name.
func networksBehind(s sample) map[string][]netip.Prefix {
	behind := map[string][]netip.Prefix{}
	for _, t := range s.tokens {
		if len(t.Sessions) > 0 && len(t.Routes) > 0 {
			behind[t.Name] = t.Routes
		}
	}
	return behind
}

// canvas is a picture that is being drawn.
type canvas struct {
	geometry
	picture
}

func (c *canvas) box(class string, x, y int, text, note string) {
	c.Nodes = append(c.Nodes, node{Class: class, X: x, Y: y, W: c.column, H: nodeHeight,
		Text: shortened(text, c.letters), Note: shortened(note, c.letters+2),
		Title: text + ", " + note, TX: x + 10, Y1: y + 15, Y2: y + 27})
}

// link draws a line from the right of one node to the left of another, which begin at y1 and y2.
func (c *canvas) link(x1, y1, x2, y2 int) {
	half := nodeHeight / 2
	y1, y2 = y1+half, y2+half
	bend := (x1 + x2) / 2
	c.Links = append(c.Links, fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, bend, y1, bend, y2, x2,
		y2))
}

// down draws a line from the hub to a network below it, along their left sides.
func (c *canvas) down(hub, y int) {
	x := margin + 14
	c.Links = append(c.Links, fmt.Sprintf("M%d %dV%d", x, hub+nodeHeight, y))
}

// shortened returns a text of at most n letters.
func shortened(text string, n int) string {
	letters := []rune(text)
	if len(letters) <= n {
		return text
	}
	return string(letters[:n-1]) + "…"
}
