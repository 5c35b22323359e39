package firewall

import (
	"maps"
	"net/netip"
	"slices"

	"tunnel/nftcmd"
)

// Reached returns the networks behind other interfaces that the tunnel reaches, by their addresses
// there.
func (r Rules) Reached() []netip.Prefix {
	return slices.Concat(r.Networks, builder{Rules: r}.here())
}

// astray refuses what comes from the tunnel to a network and would leave by an interface that does
// not lead there: when the network's own is down a default route leads elsewhere, and a neighbor
// there could answer. The rule goes by the interface's index, see guard. With a kill switch so is
// what has no interface of its own.
func (b builder) astray() (rules []string) {
	devs := map[netip.Prefix][]string{}
	for _, way := range b.guards.Ways {
		devs[way.Network] = append(devs[way.Network], way.Dev)
	}
	parts := slices.SortedFunc(maps.Keys(devs), netip.Prefix.Compare)
	from := "iifname " + b.tunnel + " ip daddr "
	alone := map[string][]netip.Prefix{} // those without others inside, by interfaces
	for _, part := range parts {
		there := slices.DeleteFunc(devs[part], func(dev string) bool { return dev == "" })
		if slices.ContainsFunc(there, func(dev string) bool { return checkName(dev) != nil }) {
			continue
		}
		by := ""
		if len(there) > 0 {
			by = "meta oif != " + nftcmd.Names(there...) + " "
		}
		within := inside(part, parts)
		if len(within) == 0 {
			alone[by] = append(alone[by], part)
			continue
		}
		rules = append(rules, from+nftcmd.Addresses(part)+" ip daddr != "+
			nftcmd.Addresses(within...)+" "+by+refuse)
	}
	for _, by := range slices.Sorted(maps.Keys(alone)) {
		rules = append(rules, from+nftcmd.Addresses(alone[by]...)+" "+by+refuse)
	}
	if reached := b.Reached(); b.KillSwitch != nil && len(reached) > 0 {
		all := from + nftcmd.Addresses(reached...) + " "
		if len(parts) > 0 {
			all += "ip daddr != " + nftcmd.Addresses(parts...) + " "
		}
		rules = append(rules, all+refuse)
	}
	return rules
}
