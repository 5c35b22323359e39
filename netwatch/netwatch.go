// Package netwatch tells when addresses, routes and links of this machine's network change. It hides rtnetlink, and
// knows nothing of what the changes are good for.
package netwatch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Watcher hears of the changes in the network namespace in which it was opened. One goroutine at a time may call Next;
// Close may be called from any.
type Watcher struct {
	file   *os.File
	buffer []byte
	events []Event // that came with the last, in order
}

// An Event is one change. What a field does not tell may be anything: the zero Event is that something was missed.
type Event struct {
	Kind   Kind
	Family Family // of an address, a route or a rule; 0 for a link
	Link   int    // index of the interface that a Link or an Address is about, else 0
}

// Kind is what has changed.
type Kind uint8

// The kinds of events; Missed is what happens to a reader who is too slow.
const (
	Missed Kind = iota
	Link
	Address
	Route // or a rule that chooses among tables of routes
)

// Family is IPv4 or IPv6.
type Family uint8

// The families of addresses and routes.
const (
	IPv4 Family = unix.AF_INET
	IPv6 Family = unix.AF_INET6
)

// bufferSize is large enough for whatever the kernel puts into one message.
const bufferSize = 64 << 10

// Open returns a Watcher of the calling thread's network namespace. It takes no privileges. Close it.
func Open() (*Watcher, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("watch the network: %w", err)
	}
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE |
		unix.RTMGRP_IPV4_RULE | 1<<(unix.RTNLGRP_IPV6_RULE-1)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch the network: %w", err)
	}
	return &Watcher{file: os.NewFile(uintptr(fd), "rtnetlink"), buffer: make([]byte, bufferSize)}, nil
}

// Next waits for the next change. After Close the error is os.ErrClosed, wrapped.
func (w *Watcher) Next() (Event, error) {
	for len(w.events) == 0 {
		n, err := w.file.Read(w.buffer)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			return Event{}, nil
		case err != nil:
			return Event{}, fmt.Errorf("watch the network: %w", err)
		}
		w.events = parse(w.buffer[:n])
	}
	e := w.events[0]
	w.events = w.events[1:]
	return e, nil
}

// Close ends it.
func (w *Watcher) Close() error { return w.file.Close() }

// parse returns what a datagram from the kernel says.
func parse(data []byte) []Event {
	messages, err := syscall.ParseNetlinkMessage(data)
	if err != nil {
		return []Event{{}}
	}
	var events []Event
	for _, m := range messages {
		if e, ok := event(m); ok {
			events = append(events, e)
		}
	}
	return events
}

// event reads one message; false is one that changes no packet's way.
func event(m syscall.NetlinkMessage) (Event, bool) {
	// Struct ifinfomsg, ifaddrmsg and rtmsg have at least these; see rtnetlink(7).
	if len(m.Data) < 8 {
		return Event{}, false
	}
	family := Family(m.Data[0])
	index := int(binary.NativeEndian.Uint32(m.Data[4:]))
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		// A bridge's ports send such messages of their own, about what the bridge learns.
		return Event{Kind: Link, Link: index}, family == unix.AF_UNSPEC
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return Event{Kind: Address, Family: family, Link: index}, true
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		table, kind := m.Data[4], m.Data[7]
		ours := table != unix.RT_TABLE_LOCAL && kind != unix.RTN_MULTICAST && kind != unix.RTN_BROADCAST
		return Event{Kind: Route, Family: family}, ours && (family == IPv4 || family == IPv6)
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		return Event{Kind: Route, Family: family}, true
	}
	return Event{}, false
}
