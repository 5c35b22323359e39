package route

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"tunnel/rtnl"
)

// Lookup answers questions about what the kernel has, each about one thing or filtered by the kernel: it is rtnl.Kernel.
type Lookup interface {
	// LinkByName and LinkByIndex return a zero Link if there is none.
	LinkByName(name string) (rtnl.Link, error)
	LinkByIndex(index int) (rtnl.Link, error)
	// Addrs returns the IPv4 addresses of an interface, of all for index 0.
	Addrs(index int) ([]rtnl.Addr, error)
	// Routes calls visit for the IPv4 routes of a table, all for 0, by an interface, any for 0.
	Routes(table, index int, visit func(rtnl.Route) bool) error
	// Rules returns the rules for IPv4.
	Rules() ([]rtnl.Rule, error)
	// Resolve returns what the kernel does with a packet, Match the table's entry by which it does so.
	Resolve(flow rtnl.Flow) (rtnl.Route, error)
	Match(flow rtnl.Flow) (rtnl.Route, error)
}

// errNoLookup says that a Router has no Lookup, as in a dry run.
var errNoLookup = errors.New("no look-up in a dry run")

// match is Match for a connection to a server, with ErrNoRoute for a packet that would not leave this machine. The caller
// holds mu.
func (r *Router) match(server netip.Addr) (rtnl.Route, error) {
	return explain(r.look.Match, rtnl.Flow{To: server, Protocol: unix.IPPROTO_TCP})
}

// resolve is the same of Resolve.
func (r *Router) resolve(server netip.Addr) (rtnl.Route, error) {
	return explain(r.look.Resolve, rtnl.Flow{To: server, Protocol: unix.IPPROTO_TCP})
}

func explain(ask func(rtnl.Flow) (rtnl.Route, error), flow rtnl.Flow) (rtnl.Route, error) {
	addr := flow.To
	found, err := ask(flow)
	var errno unix.Errno
	switch {
	case rtnl.IsUnreachable(err) && errors.As(err, &errno):
		return rtnl.Route{}, fmt.Errorf("%w to %s: %s", ErrNoRoute, addr, errno.Error())
	case err == nil && found.Type != unix.RTN_UNICAST && found.Type != unix.RTN_LOCAL:
		return rtnl.Route{}, fmt.Errorf("%w to %s: it is a %s address", ErrNoRoute, addr, typeName(found.Type))
	}
	return found, err
}

// typeName returns the name that ip-route(8) has for a type of route.
func typeName(kind uint8) string {
	names := []string{"unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw", "nat"}
	if int(kind) < len(names) {
		return names[kind]
	}
	return fmt.Sprintf("type %d", kind)
}

// routesTo returns the routes of the main table that leave by dev to exactly prefix.
func routesTo(look Lookup, prefix netip.Prefix, index int) ([]rtnl.Route, error) {
	var all []rtnl.Route
	err := look.Routes(unix.RT_TABLE_MAIN, index, func(r rtnl.Route) bool {
		if r.Dst == prefix {
			all = append(all, r)
		}
		return true
	})
	return all, err
}

// is reports whether r is the route that e describes, exactly as this program adds it, on the interface of that index.
func (e entry) is(r rtnl.Route, index int) bool {
	if r.Dst != e.Prefix || r.Type != unix.RTN_UNICAST || r.Table != unix.RT_TABLE_MAIN || r.Protocol != unix.RTPROT_BOOT ||
		r.Metric != 0 || r.NextHop != 0 || r.More || len(r.Hops) != 1 {
		return false
	}
	hop := r.Hops[0]
	return index != 0 && hop.Index == index && hop.Via == e.Via && pathOf(r, hop) == e.Path
}

// hasAddr reports whether the address that e describes is among all.
func (e entry) hasAddr(all []rtnl.Addr) bool {
	return slices.ContainsFunc(all, func(a rtnl.Addr) bool {
		return (e.Index == 0 || a.Index == e.Index) && a.Local == e.Local && a.Peer == e.Peer && a.PrefixLen == 32
	})
}
