package admission

import (
	"math/rand/v2"
	"net/netip"
)

// caps bound how many unauthenticated connections a prefix may have in a pool, by its kind; 0 is no
// bound.
type caps struct {
	source int // an IPv4 address or an IPv6 /64
	site   int // an IPv6 /56
	net    int // an IPv6 /48 or an IPv4 /24
}

func (c caps) of(p netip.Prefix) int {
	switch bits := p.Bits(); {
	case !p.IsValid():
		return 0
	case bits == 24 || bits == 48:
		return c.net
	case bits == 56:
		return c.site
	}
	return c.source
}

// pool holds unauthenticated connections in a tree of the prefixes that they come from. When a
// prefix has reached its cap, or the pool is full, one connection is evicted: a random one of the
// source that is found by descending to the child with the most connections at each node. So a
// prefix with many connections pays for its own newcomers, and one with a single connection loses
// it only if no other has more. Every operation takes constant time: nodes with the same number of
// connections share a rank.
type pool struct {
	room  int
	caps  caps
	root  *node
	nodes map[netip.Prefix]*node // all but the root; the zero prefix is a source too
}

type node struct {
	prefix netip.Prefix
	parent *node // nil for the root
	count  int   // connections below

	// Of a leaf, which is a source.
	tracked []*Tracked

	// Of an inner node.
	ranks [][]*node // ranks[n] are the children that have n connections
	top   int       // the highest rank that is not empty, 0 without children
	index int       // of this node in its parent's rank
}

func newPool(room int, c caps) *pool {
	return &pool{room: room, caps: c, root: new(node), nodes: map[netip.Prefix]*node{}}
}

// add adds t, and returns the connections that it evicted.
func (p *pool) add(t *Tracked, source netip.Prefix) (evicted []*Tracked) {
	evict := func(n *node) {
		victim := n.victim()
		evicted = append(evicted, victim)
		p.remove(victim)
	}
	for _, prefix := range append([]netip.Prefix{source}, networks(source)...) {
		if most := p.caps.of(prefix); most > 0 {
			if n := p.nodes[prefix]; n != nil && n.count >= most {
				evict(n)
			}
		}
	}
	if p.root.count >= p.room {
		evict(p.root)
	}
	leaf := p.node(source)
	t.pool, t.leaf, t.index = p, leaf, len(leaf.tracked)
	leaf.tracked = append(leaf.tracked, t)
	for n := leaf; n != nil; n = n.parent {
		n.grow(1)
	}
	return evicted
}

// remove removes t.
func (p *pool) remove(t *Tracked) {
	leaf := t.leaf
	last := len(leaf.tracked) - 1
	leaf.tracked[t.index] = leaf.tracked[last]
	leaf.tracked[t.index].index = t.index
	leaf.tracked[last] = nil
	leaf.tracked = leaf.tracked[:last]
	t.pool, t.leaf = nil, nil
	for n := leaf; n != nil; n = n.parent {
		n.grow(-1)
		if n.count == 0 && n != p.root {
			delete(p.nodes, n.prefix)
		}
	}
}

// node returns the leaf of a source. It makes those on the path to it that are missing.
func (p *pool) node(source netip.Prefix) *node {
	above := p.root
	nets := networks(source)
	for i := len(nets) - 1; i >= 0; i-- {
		above = p.child(above, nets[i])
	}
	return p.child(above, source)
}

func (p *pool) child(parent *node, prefix netip.Prefix) *node {
	n := p.nodes[prefix]
	if n == nil {
		n = &node{prefix: prefix, parent: parent}
		p.nodes[prefix] = n
	}
	return n
}

// grow adds by, 1 or -1, to n's connections, and moves n to its new rank. Rank 0 stays empty.
func (n *node) grow(by int) {
	old := n.count
	n.count += by
	up := n.parent
	if up == nil {
		return
	}
	if old > 0 {
		rank := up.ranks[old]
		last := len(rank) - 1
		rank[n.index] = rank[last]
		rank[n.index].index = n.index
		rank[last] = nil
		up.ranks[old] = rank[:last]
	}
	if n.count > 0 {
		for len(up.ranks) <= n.count {
			up.ranks = append(up.ranks, nil)
		}
		n.index = len(up.ranks[n.count])
		up.ranks[n.count] = append(up.ranks[n.count], n)
	}
	switch {
	case n.count > up.top:
		up.top = n.count
	case old == up.top && len(up.ranks[old]) == 0:
		// n was the last of the top rank, and has moved to the rank below it
		up.top = n.count
	}
}

// victim returns the connection below n to evict. n must not be empty.
func (n *node) victim() *Tracked {
	for n.top > 0 {
		rank := n.ranks[n.top]
		n = rank[rand.IntN(len(rank))]
	}
	return n.tracked[rand.IntN(len(n.tracked))]
}
