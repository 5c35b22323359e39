package networks

import (
	"net/netip"
	"slices"
	"time"

	"tunnel/auth"
	"tunnel/policy"
	"tunnel/transport"
)

// scene is what the rules and updates of all clients are made of.
type scene struct {
	*Networks

	tokens map[string]auth.Token   // by id; for a hub without tokens, an empty one
	next   time.Time               // when the first of them expires; the zero Time is never
	owners map[netip.Prefix]string // the networks of tokens, with their ids
	all    []netip.Prefix          // that are advertised, IPv4; sorted
	made   map[string]terms        // by the ids of tokens, what was asked for
}

// terms are what the clients of a token may do, and are told.
type terms struct {
	rules  *policy.Rules
	update transport.Update
}

// scene returns the latest scene; the caller holds telling.
func (n *Networks) scene() *scene {
	if n.stale.Swap(false) || n.latest == nil {
		n.latest = n.newScene()
		n.Peers.Own(n.latest.owners)
	}
	return n.latest
}

func (n *Networks) newScene() *scene {
	c := &scene{Networks: n, tokens: map[string]auth.Token{}, owners: map[netip.Prefix]string{},
		made: map[string]terms{}}
	tokens := []auth.Token{{}} // which all clients share
	if n.Tokens != nil {
		tokens = n.Tokens.List()
	}
	for _, t := range tokens {
		if t.Expired(time.Now()) {
			continue
		}
		c.tokens[t.ID] = t
		if !t.Expires.IsZero() && (c.next.IsZero() || t.Expires.Before(c.next)) {
			c.next = t.Expires
		}
		for _, p := range t.Routes {
			if !p.Overlaps(n.Leases.Network()) { // see Fits: no client has it
				c.owners[p] = t.ID
			}
		}
	}
	for id, prefixes := range n.offered() {
		for _, p := range prefixes {
			if owner, ok := c.owner(p); ok && owner == id && p.Addr().Is4() {
				c.all = append(c.all, p)
			}
		}
	}
	c.all = sorted(c.all)
	return c
}

// over reports whether one of the tokens has expired.
func (c *scene) over(now time.Time) bool { return !c.next.IsZero() && !now.Before(c.next) }

// owner returns the id of the token with the longest network that contains a prefix; ok is false if
// none does.
func (c *scene) owner(prefix netip.Prefix) (id string, ok bool) {
	for bits := prefix.Bits(); bits > 0; bits-- {
		network, err := prefix.Addr().Prefix(bits)
		if err != nil {
			break
		}
		if id, ok = c.owners[network]; ok {
			return id, true
		}
	}
	return "", false
}

// Apart returns those of the networks of a token that was ended in which no other token has one.
func (n *Networks) Apart(ended []netip.Prefix) (all []netip.Prefix) {
	n.telling.Lock()
	defer n.telling.Unlock()
	owners := n.scene().owners
	for _, p := range ended {
		mixed := false
		for other := range owners {
			mixed = mixed || p.Overlaps(other)
		}
		if !mixed {
			all = append(all, p)
		}
	}
	return all
}

// of returns the terms of a token; those of one that is over have nothing.
func (c *scene) of(id string) terms {
	if made, ok := c.made[id]; ok {
		return made
	}
	token, valid := c.tokens[id]
	if !valid {
		return terms{rules: &policy.Rules{}}
	}
	pushed := sorted(slices.Concat(c.Push, token.PushRoutes))
	t := terms{policy.NewRules(pushed), transport.Update{Routes: c.routes(token, pushed),
		Behind: token.Routes[:min(len(token.Routes), transport.MaxAdvertise)]}}
	var err error
	if t.update.DNS, t.update.Domains, err = c.resolvers(token.DNS, token.Domains); err != nil {
		c.Log.Warn("clients are not told any DNS servers", "token", token.Name, "err", err)
	}
	c.made[id] = t
	return t
}

// routes returns the networks that the clients of a token are told of. If there are too many, those
// that are pushed go before those that other clients advertise.
func (c *scene) routes(token auth.Token, pushed []netip.Prefix) []netip.Prefix {
	all := slices.Clone(pushed)
	if c.Together {
		all = append(all, slices.DeleteFunc(slices.Clone(c.all), func(p netip.Prefix) bool {
			_, twice := slices.BinarySearchFunc(pushed, p, netip.Prefix.Compare)
			return twice
		})...)
	}
	// What lies behind the client itself it has already.
	all = slices.DeleteFunc(all, func(p netip.Prefix) bool { return within(p, token.Routes) })
	if len(all) > transport.MaxRoutes {
		c.Log.Warn("clients are told of some networks only: there are too many",
			"token", token.Name, "networks", len(all), "most", transport.MaxRoutes)
		all = all[:transport.MaxRoutes]
	}
	return sorted(all)
}

// machine returns what the machine has to do.
func (c *scene) machine() Machine {
	pushed := slices.Clone(c.Push)
	for _, t := range c.tokens {
		pushed = append(pushed, t.PushRoutes...)
	}
	var owned []netip.Prefix
	for p := range c.owners {
		if p.Addr().Is4() {
			owned = append(owned, p)
		}
	}
	return Machine{Behind: c.all, Pushed: sorted(pushed), Owned: sorted(owned)}
}

// within reports whether a prefix lies in one of all.
func within(prefix netip.Prefix, all []netip.Prefix) bool {
	return slices.ContainsFunc(all, func(p netip.Prefix) bool {
		return p.Bits() <= prefix.Bits() && p.Contains(prefix.Addr())
	})
}

// sorted sorts prefixes, and keeps one of each.
func sorted(all []netip.Prefix) []netip.Prefix {
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}
