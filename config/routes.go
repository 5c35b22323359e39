package config

import (
	"fmt"
	"net/netip"
	"slices"

	"tunnel/auth"
	"tunnel/client/grant"
	"tunnel/config/setting"
)

// pushedRoutes are networks behind a server.
func pushedRoutes(p *[]netip.Prefix) setting.Value {
	return setting.Several[netip.Prefix]{P: p, Split: setting.ByCommas, Format: netip.Prefix.String,
		Parse: func(s string) (netip.Prefix, error) {
			n, err := parseRoute(s)
			if err == nil {
				if wrong := auth.CheckPushRoute(n); wrong != nil {
					err = fmt.Errorf(" %w", wrong)
				}
			}
			return n, err
		}}
}

// checkPushRoute checks the networks behind this machine together.
func (s *Serve) checkPushRoute(c *setting.Checker) {
	for _, p := range s.PushRoute {
		if p.Overlaps(s.Network) {
			c.Wrong("push-route", " %s overlaps with --network %s", p, s.Network)
		}
	}
	if n := len(s.PushRoute); n > auth.MaxPushRoutes {
		c.Wrong("push-route", " has %d networks, more than %d", n, auth.MaxPushRoutes)
	}
}

// masqueradedRoutes are networks to which packets are masqueraded.
func masqueradedRoutes(p *[]netip.Prefix) setting.Value {
	return setting.Several[netip.Prefix]{P: p, Split: setting.ByCommas, Format: netip.Prefix.String,
		Parse: func(s string) (netip.Prefix, error) {
			n, err := parseRoute(s)
			switch wrong := auth.CheckPushRoute(n); {
			case err != nil:
				return n, err
			case wrong != nil:
				return n, fmt.Errorf(" %w", wrong)
			case n.Bits() < 8: // as in package firewall
				return n, fmt.Errorf(" %s is larger than a /8", s)
			}
			return n, nil
		}}
}

// checkMasquerade checks the masqueraded networks together.
func (s *Serve) checkMasquerade(c *setting.Checker) {
	if len(s.MasqueradeOnly) > 0 && !s.Masquerade {
		c.About("masquerade-only", "--masquerade-only is for --masquerade: give that too")
	}
	if n := len(s.MasqueradeOnly); n > auth.MaxPushRoutes {
		c.Wrong("masquerade-only", " has %d networks, more than %d", n, auth.MaxPushRoutes)
	}
}

// MasqueradesTo reports whether what clients send to a network gets this machine's address.
func (s *Serve) MasqueradesTo(n netip.Prefix) bool {
	return s.Masquerade && (len(s.MasqueradeOnly) == 0 || slices.ContainsFunc(s.MasqueradeOnly,
		func(p netip.Prefix) bool { return p.Bits() <= n.Bits() && p.Contains(n.Addr()) }))
}

// ReachesPublic reports whether clients reach public addresses by this machine.
func (s *Serve) ReachesPublic() bool { return s.Masquerade && len(s.MasqueradeOnly) == 0 }

// excludedRoutes are networks that a client does not take.
func excludedRoutes(p *[]netip.Prefix) setting.Value {
	return setting.Several[netip.Prefix]{P: p, Split: setting.ByCommas, Format: netip.Prefix.String,
		Parse: parseRoute}
}

// parseRoute parses an IPv4 prefix, or an address as a prefix of 32 bits unless it looks like a
// network's. The error continues the setting's name.
func parseRoute(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Is4() {
		if a.As4()[3] == 0 { // the network of its /24, most likely
			return netip.Prefix{}, fmt.Errorf(" %s has no length: write %s/24 or what it is, or %s/32 for "+
				"this one address", s, s, s)
		}
		return netip.PrefixFrom(a, 32), nil
	}
	n, err := netip.ParsePrefix(s)
	switch {
	case err != nil || !n.Addr().Is4():
		return n, fmt.Errorf(" %s is not an IPv4 prefix like 192.168.7.0/24", s)
	case n != n.Masked():
		return n, fmt.Errorf(" %s has host bits set, its prefix is %s", s, n.Masked())
	}
	return n, nil
}

// AcceptAll stands for all networks in Connect.Accept.
func AcceptAll() netip.Prefix { return netip.PrefixFrom(netip.IPv4Unspecified(), 0) }

// acceptAll is the value of --accept for AcceptAll.
const acceptAll = "all"

// acceptedRoutes are public networks that a client takes.
func acceptedRoutes(p *[]netip.Prefix) setting.Value {
	return setting.Several[netip.Prefix]{P: p, Split: setting.ByCommas,
		Parse: func(s string) (netip.Prefix, error) {
			if s == acceptAll {
				return AcceptAll(), nil
			}
			n, err := parseRoute(s)
			switch {
			case err != nil:
				return n, fmt.Errorf("%w, nor %s", err, acceptAll)
			case n.Bits() == 0:
				return n, fmt.Errorf(" %s: the default route is never taken", s)
			}
			return n, nil
		},
		Format: func(n netip.Prefix) string {
			if n == AcceptAll() {
				return acceptAll
			}
			return n.String()
		}}
}

// Routes returns which networks behind the server the client takes.
func (o *Connect) Routes() grant.Routes {
	named := slices.DeleteFunc(slices.Clone(o.Accept),
		func(n netip.Prefix) bool { return n == AcceptAll() })
	return grant.Routes{None: o.NoRoutes, All: len(named) < len(o.Accept), Accept: named,
		Exclude: o.Exclude}
}
