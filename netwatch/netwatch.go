// Package netwatch reports changes of addresses, routes and links of this machine, and of files
// about its network. It hides rtnetlink, and does not interpret the changes.
package netwatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/rtnl"
)

// A Watcher reports the changes in the network namespace in which it was opened. One goroutine at a
// time may call Next; Close may be called from any.
type Watcher struct {
	file   *os.File
	buffer []byte
	events []Event // received with the last one, in order
	files  *files  // nil for none
}

// An Event is one change; a route with several next hops is one event for each. An unset field
// stands for any value: the zero Event means that events were missed.
type Event struct {
	Kind   Kind
	Family Family // of an address, a route, a rule or forwarding; 0 for a link and a nexthop object
	// index of the interface that a Link, an Address, a Route or Forwarding is about; 0 if there is
	// none, or all are meant
	Link int
	// Prefix is the destination of a Route, or an Address with the length of its network (one that
	// has a peer is two events, the second with the peer's); not valid for a Link, for a rule and
	// for a nexthop object, which may change the route of any packet.
	Prefix netip.Prefix
	Via    netip.Addr // the gateway of a Route; not valid if it has none
	Table  int        // of a Route, unix.RT_TABLE_MAIN and the like; 0 for all others
}

// Kind is the kind of object that has changed.
type Kind uint8

// The kinds of events; Missed is sent to a reader that is too slow.
const (
	Missed Kind = iota
	Link
	Address
	Route // or a rule that chooses among tables of routes, or a nexthop object that routes refer to
	File  // one of the files that Open was given; no other field says anything
	// Forwarding, of an interface or of all, has been switched on or off; it changes no route.
	Forwarding
)

// Family is IPv4 or IPv6.
type Family uint8

// The families of addresses and routes.
const (
	IPv4 Family = unix.AF_INET
	IPv6 Family = unix.AF_INET6
)

// bufferSize is large enough for any message of the kernel.
const bufferSize = 64 << 10

// receiveBuffer is what the kernel may hold for a Watcher, in bytes: about a thousand changes of
// links.
const receiveBuffer = 4 << 20

// Open returns a Watcher of the calling thread's network namespace, and of files, which need not
// exist. A change of a file is noticed within fileInterval, and within fileSettle of another
// change that Next returns. It needs no privileges. The caller closes the Watcher.
func Open(paths ...string) (*Watcher, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK,
		unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("watch the network: %w", err)
	}
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
		unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE | unix.RTMGRP_IPV4_RULE |
		1<<(unix.RTNLGRP_IPV6_RULE-1) | 1<<(unix.RTNLGRP_NEXTHOP-1) |
		1<<(unix.RTNLGRP_IPV4_NETCONF-1) | 1<<(unix.RTNLGRP_IPV6_NETCONF-1)
	address := &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}
	if err := unix.Bind(fd, address); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch the network: %w", err)
	}
	// A burst shall not overflow it. Without the right to a larger one it is as large as allowed.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
	w := &Watcher{file: os.NewFile(uintptr(fd), "rtnetlink"), buffer: make([]byte, bufferSize)}
	if len(paths) > 0 {
		w.files = newFiles(paths, time.Now())
	}
	return w, nil
}

// Next waits for the next change. After Close the error is os.ErrClosed, wrapped.
func (w *Watcher) Next() (Event, error) {
	for len(w.events) == 0 {
		if w.files != nil {
			if w.files.changed(time.Now()) {
				return Event{Kind: File}, nil
			}
			if err := w.file.SetReadDeadline(w.files.due); err != nil {
				return Event{}, fmt.Errorf("watch the network: %w", err)
			}
		}
		n, err := w.file.Read(w.buffer)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			continue
		case errors.Is(err, unix.ENOBUFS):
			return Event{}, nil
		case err != nil:
			return Event{}, fmt.Errorf("watch the network: %w", err)
		}
		w.events = parse(w.buffer[:n])
		if w.files != nil {
			w.files.hasten(time.Now())
		}
	}
	e := w.events[0]
	w.events = w.events[1:]
	return e, nil
}

// Close ends the Watcher, and makes Next return.
func (w *Watcher) Close() error { return w.file.Close() }

// parse returns the events of a datagram from the kernel.
func parse(data []byte) []Event {
	messages, err := syscall.ParseNetlinkMessage(data)
	if err != nil {
		return []Event{{}}
	}
	var events []Event
	for _, m := range messages {
		events = append(events, read(m)...)
	}
	return events
}

// read parses one message; it returns no event for a change that affects no packet's route.
func read(m syscall.NetlinkMessage) []Event {
	// Struct ifinfomsg, ifaddrmsg and rtmsg have at least these; see rtnetlink(7).
	if len(m.Data) < 8 {
		return nil
	}
	family := Family(m.Data[0])
	index := int(binary.NativeEndian.Uint32(m.Data[4:]))
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		// A bridge's ports send such messages of their own, about what the bridge learns.
		if family == unix.AF_UNSPEC {
			return []Event{{Kind: Link, Link: index}}
		}
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		a, ok := rtnl.ParseAddr(m.Data)
		if !ok {
			return nil
		}
		e := Event{Kind: Address, Family: family, Link: index, Prefix: netip.PrefixFrom(a.Local,
			a.PrefixLen)}
		if !a.Peer.IsValid() {
			return []Event{e}
		}
		peer := e
		peer.Prefix = netip.PrefixFrom(a.Peer, a.PrefixLen)
		return []Event{e, peer}
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		table, protocol, kind := m.Data[4], m.Data[5], m.Data[7]
		// The kernel's own entries of the local table repeat the addresses, but other programs may
		// remove them.
		repeats := m.Header.Type == unix.RTM_NEWROUTE || kind != unix.RTN_LOCAL
		if table == unix.RT_TABLE_LOCAL && protocol == unix.RTPROT_KERNEL && repeats ||
			kind == unix.RTN_MULTICAST || kind == unix.RTN_BROADCAST {
			return nil
		}
		return readRoute(m.Data)
	case unix.RTM_NEWNETCONF:
		if index, ok := rtnl.ParseForwarding(m.Data); ok {
			return []Event{{Kind: Forwarding, Family: family, Link: index}}
		}
	case rtmNewNexthop, rtmDelNexthop:
		return []Event{{Kind: Route}}
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		return []Event{{Kind: Route, Family: family}}
	}
	return nil
}

// RTM_NEWNEXTHOP and RTM_DELNEXTHOP of include/uapi/linux/rtnetlink.h.
const (
	rtmNewNexthop = 104
	rtmDelNexthop = 105
)

func readRoute(data []byte) []Event {
	r, ok := rtnl.ParseRoute(data)
	if !ok {
		return nil
	}
	e := Event{Kind: Route, Family: Family(data[0]), Prefix: r.Dst, Table: r.Table}
	if len(r.Hops) == 0 {
		return []Event{e}
	}
	var all []Event
	for _, hop := range r.Hops {
		e.Link, e.Via = hop.Index, hop.Via
		all = append(all, e)
	}
	return all
}
