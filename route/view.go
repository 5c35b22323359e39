// Package route has the facts about addresses and routes that this program makes, and answers which
// way packets take.
package route

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"tunnel/rtnl"
)

// ErrNoRoute says that this machine has no path to the server.
var ErrNoRoute = errors.New("no route")

// View is what the kernel decides about packets, beside the tunnel's own device.
type View struct {
	Look rtnl.Lookup
	Dev  string // the tunnel's own device
	Own  int    // its interface index, 0 if it is not there
	Mark uint32 // that connections to a server have; 0 is none
	User uint32 // who makes them; 0 is this process
}

// Match returns the table's entry by which the kernel decides about a connection to server. The
// error is an ErrNoRoute if packets would not leave this machine.
func (v View) Match(server netip.AddrPort) (rtnl.Route, error) {
	return explain(v.Look.Match, v.flow(server))
}

// flow is a connection to server. With port 0 it is any that this machine may forward, so that
// rules for a port or a user are not for it.
func (v View) flow(server netip.AddrPort) rtnl.Flow {
	flow := rtnl.Flow{To: server.Addr(), Protocol: unix.IPPROTO_TCP, Mark: v.Mark}
	if server.Port() != 0 {
		flow.Port, flow.User = server.Port(), v.User
	}
	return flow
}

// Resolve returns what the kernel does with packets of such a flow, with the errors of Match.
func (v View) Resolve(flow rtnl.Flow) (rtnl.Route, error) { return explain(v.Look.Resolve, flow) }

func explain(ask func(rtnl.Flow) (rtnl.Route, error), flow rtnl.Flow) (rtnl.Route, error) {
	found, err := ask(flow)
	var errno unix.Errno
	switch {
	case rtnl.IsUnreachable(err) && errors.As(err, &errno):
		return rtnl.Route{}, fmt.Errorf("%w to %s: %s", ErrNoRoute, flow.To, errno.Error())
	case err == nil && found.Type != unix.RTN_UNICAST && found.Type != unix.RTN_LOCAL:
		return rtnl.Route{}, fmt.Errorf("%w to %s: it is a %s address", ErrNoRoute, flow.To,
			typeName(found.Type))
	}
	return found, err
}

// typeName returns the name that ip-route(8) has for a type of route.
func typeName(kind uint8) string {
	names := []string{"unspec", "unicast", "local", "broadcast", "anycast", "multicast",
		"blackhole", "unreachable", "prohibit", "throw", "nat"}
	if int(kind) < len(names) {
		return names[kind]
	}
	return fmt.Sprintf("type %d", kind)
}

// routesTo returns the routes of the main table that leave by an interface to exactly prefix.
func routesTo(look rtnl.Lookup, prefix netip.Prefix, index int) ([]rtnl.Route, error) {
	var all []rtnl.Route
	err := look.Routes(unix.RT_TABLE_MAIN, index, func(r rtnl.Route) bool {
		if r.Dst == prefix {
			all = append(all, r)
		}
		return true
	})
	return all, err
}

// Name returns the name of an interface for a person.
func (v View) Name(index int) string {
	link, err := v.Look.LinkByIndex(index)
	if err != nil || link.Name == "" {
		return fmt.Sprintf("if%d", index)
	}
	return link.Name
}
