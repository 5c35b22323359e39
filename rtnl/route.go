package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

const rtaNextHop = 30 // RTA_NH_ID of include/uapi/linux/rtnetlink.h

// Route is one entry of a routing table, or the answer to Resolve.
type Route struct {
	Dst      netip.Prefix
	Type     uint8 // unix.RTN_UNICAST, RTN_LOCAL, ...
	Table    int   // unix.RT_TABLE_MAIN, ...
	Protocol uint8 // who made it; unix.RTPROT_BOOT, the default of ip
	Metric   uint32
	Src      netip.Addr // the source address that it asks for; may be not valid
	Hops     []Hop      // empty for "unreachable", "blackhole", "prohibit" and "throw"
	NextHop  uint32     // id of its nexthop object, 0 if it has none
	More     bool       // it says more than is here: a type of service, realms, an encapsulation
	Path     Metrics
}

// Hop is one next hop of a Route.
type Hop struct {
	Via    netip.Addr // not valid when the destination is on the link
	Index  int        // of the interface
	Onlink bool       // Via counts as a neighbour, whatever the interface's addresses
	Dead   bool       // the kernel does not use it
}

// Metrics are what a route says of its path (RTA_METRICS), by RTAX_ number; 0 says nothing.
// Metrics[unix.RTAX_LOCK] has a bit for each that path MTU discovery and the like must not change.
type Metrics struct {
	Values     [unix.RTAX_MAX + 1]uint32
	Congestion string // name of the congestion control
}

// Equal reports whether two routes say the same, hops that are dead or not aside.
func (r Route) Equal(other Route) bool {
	return r.Dst == other.Dst && r.Type == other.Type && r.Table == other.Table &&
		r.Protocol == other.Protocol &&
		r.Metric == other.Metric && r.Src == other.Src && r.NextHop == other.NextHop &&
		r.More == other.More && r.Path == other.Path &&
		slices.EqualFunc(r.Hops, other.Hops, func(a, b Hop) bool { a.Dead = b.Dead; return a == b })
}

// IsUnreachable reports whether err, of Resolve or Match, is the kernel's word that a packet would
// not leave: there is no route, or one of a type that says so (fib_props in
// net/ipv4/fib_semantics.c).
func IsUnreachable(err error) bool {
	words := []unix.Errno{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, unix.ESRCH,
		unix.EAGAIN}
	return slices.ContainsFunc(words, func(e unix.Errno) bool { return errors.Is(err, e) })
}

// Flow is what rules can tell of the packets that a look-up is about.
type Flow struct {
	To   netip.Addr
	From netip.Addr // an address of this machine; not valid is that the sender has chosen none yet
	// Protocol is unix.IPPROTO_TCP and the like (RTA_IP_PROTO, Linux 4.19); for 0 the kernel
	// assumes UDP.
	Protocol uint8
	Port     uint16 // that the packets are for (RTA_DPORT, Linux 4.19); 0 is none
	Mark     uint32 // of the sender's socket; 0 is none
	User     uint32 // of that socket (RTA_UID, Linux 4.10); 0 is that of this process
}

// Resolve returns what the kernel does with a packet of flow now: rules, marks, nexthop objects and
// several hops are resolved to one Hop. Dst is the address itself.
func (Kernel) Resolve(flow Flow) (Route, error) { return get(flow, 0) }

// Match returns the table's entry by which the kernel does so (RTM_F_FIB_MATCH, Linux 4.13).
func (Kernel) Match(flow Flow) (Route, error) { return get(flow, unix.RTM_F_FIB_MATCH) }

func get(flow Flow, flags uint32) (found Route, err error) {
	addr := flow.To
	request := make([]byte, unix.SizeofRtMsg)
	request[0], request[1] = unix.AF_INET6, uint8(addr.BitLen())
	if addr.Is4() {
		request[0] = unix.AF_INET
		flags |= unix.RTM_F_LOOKUP_TABLE
	}
	binary.NativeEndian.PutUint32(request[8:], flags)
	request = attribute(request, unix.RTA_DST, addr.AsSlice())
	if flow.From.IsValid() {
		request[2] = uint8(flow.From.BitLen())
		request = attribute(request, unix.RTA_SRC, flow.From.AsSlice())
	}
	if flow.Protocol != 0 {
		request = attribute(request, unix.RTA_IP_PROTO, []byte{flow.Protocol})
	}
	if flow.Port != 0 {
		request = attribute(request, unix.RTA_DPORT,
			binary.BigEndian.AppendUint16(nil, flow.Port))
	}
	if flow.Mark != 0 {
		request = attribute(request, unix.RTA_MARK,
			binary.NativeEndian.AppendUint32(nil, flow.Mark))
	}
	if flow.User != 0 {
		request = attribute(request, unix.RTA_UID,
			binary.NativeEndian.AppendUint32(nil, flow.User))
	}
	err = query(unix.RTM_GETROUTE, 0, request, func(_ uint16, data []byte) error {
		var ok bool
		if found, ok = ParseRoute(data); !ok {
			return errors.New("no route in the answer")
		}
		return nil
	})
	if err != nil {
		return Route{}, fmt.Errorf("look up the route to %s: %w", addr, err)
	}
	return found, nil
}

// Routes calls visit for the IPv4 routes of a table that leave by the interface of that index,
// until visit returns false; 0 is all tables, and all interfaces.
func (Kernel) Routes(table, index int, visit func(Route) bool) error {
	return routes(unix.AF_INET, table, index, visit)
}

// Routes6 calls visit for the IPv6 routes of a table, until visit returns false.
func (Kernel) Routes6(table int, visit func(Route) bool) error {
	return routes(unix.AF_INET6, table, 0, visit)
}

func routes(family byte, table, index int, visit func(Route) bool) error {
	request := make([]byte, unix.SizeofRtMsg)
	request[0] = family
	if table != 0 {
		request[4] = uint8(min(table, unix.RT_TABLE_COMPAT))
		request = attribute(request, unix.RTA_TABLE,
			binary.NativeEndian.AppendUint32(nil, uint32(table)))
	}
	if index != 0 {
		request = attribute(request, unix.RTA_OIF,
			binary.NativeEndian.AppendUint32(nil, uint32(index)))
	}
	err := query(unix.RTM_GETROUTE, unix.NLM_F_DUMP, request, func(_ uint16, data []byte) error {
		route, ok := ParseRoute(data)
		if !ok || table != 0 && route.Table != table ||
			index != 0 && !slices.ContainsFunc(route.Hops,
				func(h Hop) bool { return h.Index == index }) {
			return nil
		}
		if !visit(route) {
			return errStop
		}
		return nil
	})
	// no such table, no such interface
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) &&
		!errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("look up routes: %w", err)
	}
	return nil
}

// ParseRoute reads a struct rtmsg and its attributes, of either family; ok reports whether it is
// whole.
func ParseRoute(data []byte) (r Route, ok bool) {
	if len(data) < unix.SizeofRtMsg {
		return Route{}, false
	}
	any4, any6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	dst := any4
	switch data[0] {
	case unix.AF_INET:
	case unix.AF_INET6:
		dst = any6
	default:
		return Route{}, false
	}
	r = Route{Table: int(data[4]), Protocol: data[5], Type: data[7], More: data[3] != 0}
	flags := binary.NativeEndian.Uint32(data[8:])
	one := Hop{Onlink: flags&unix.RTNH_F_ONLINK != 0,
		Dead: flags&(unix.RTNH_F_DEAD|unix.RTNH_F_LINKDOWN) != 0}
	attributes(data[unix.SizeofRtMsg:], func(kind uint16, value []byte) {
		switch kind {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(value)
		case unix.RTA_OIF:
			one.Index = int(number(value))
		case unix.RTA_GATEWAY:
			one.Via, _ = netip.AddrFromSlice(value)
		case unix.RTA_VIA:
			one.Via = via(value)
		case unix.RTA_PRIORITY:
			r.Metric = number(value)
		case unix.RTA_PREFSRC:
			r.Src, _ = netip.AddrFromSlice(value)
		case unix.RTA_TABLE:
			r.Table = int(number(value))
		case rtaNextHop:
			r.NextHop = number(value)
		case unix.RTA_METRICS:
			r.Path = metrics(value)
		case unix.RTA_MULTIPATH:
			r.Hops = hops(value)
		case unix.RTA_CACHEINFO: // of the look-up, not of the route
		default:
			r.More = true
		}
	})
	if one.Index != 0 && len(r.Hops) == 0 {
		r.Hops = []Hop{one}
	}
	r.Dst = netip.PrefixFrom(dst, int(data[1]))
	return r, r.Dst.IsValid()
}

// via reads a struct rtvia: a gateway of another family.
func via(value []byte) netip.Addr {
	if len(value) < 2 {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(value[2:])
	return a
}

// hops reads a list of struct rtnexthop.
func hops(data []byte) []Hop {
	var all []Hop
	for len(data) >= unix.SizeofRtNexthop {
		length := int(binary.NativeEndian.Uint16(data))
		if length < unix.SizeofRtNexthop || length > len(data) {
			break
		}
		hop := Hop{
			Index:  int(binary.NativeEndian.Uint32(data[4:])),
			Onlink: data[2]&unix.RTNH_F_ONLINK != 0,
			Dead:   data[2]&(unix.RTNH_F_DEAD|unix.RTNH_F_LINKDOWN) != 0,
		}
		attributes(data[unix.SizeofRtNexthop:length], func(kind uint16, value []byte) {
			switch kind {
			case unix.RTA_GATEWAY:
				hop.Via, _ = netip.AddrFromSlice(value)
			case unix.RTA_VIA:
				hop.Via = via(value)
			}
		})
		all = append(all, hop)
		data = data[min(align(length), len(data)):]
	}
	return all
}

func metrics(data []byte) (m Metrics) {
	attributes(data, func(kind uint16, value []byte) {
		switch {
		case kind == unix.RTAX_CC_ALGO:
			m.Congestion = text(value)
		case int(kind) < len(m.Values):
			m.Values[kind] = number(value)
		}
	})
	return m
}
