package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// Kernel answers for the network namespace of the calling thread. It has no state.
type Kernel struct{}

// Link is one interface; the zero Link is none.
type Link struct {
	Index int // never reused by the kernel while a network namespace lives
	Name  string
	Up    bool // by its administrator
	// Running reports whether an interface that is up has something at the other end: for a TUN, a
	// process.
	Running bool
	// Carrier reports the same of a TUN whether or not it is up.
	Carrier bool
	MTU     int // bytes
	Qlen    int // packets
	// Tun is nil unless the interface is a TUN (not TAP). Kernels before 4.17 tell no details: it is
	// then zero.
	Tun *Tun
}

// Tun are the details of a TUN device.
type Tun struct {
	Persist    bool
	MultiQueue bool
}

// Addr is one IPv4 address of an interface.
type Addr struct {
	Index     int // of the interface
	Local     netip.Addr
	Peer      netip.Addr // not valid unless the address is point-to-point
	PrefixLen int        // 0 to 32; of Peer when that is valid
	Secondary bool       // another address of its network comes first
}

// LinkByName returns the interface of that name, or a zero Link if there is none.
func (Kernel) LinkByName(name string) (Link, error) {
	request := attribute(make([]byte, unix.SizeofIfInfomsg), unix.IFLA_IFNAME,
		append([]byte(name), 0))
	link, err := getLink(request)
	if link.Name != name { // an alternative name (ip-link(8)), by which no route is shown
		link = Link{}
	}
	return link, err
}

// LinkByIndex returns the interface of that index, or a zero Link if there is none.
func (Kernel) LinkByIndex(index int) (Link, error) {
	request := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(request[4:], uint32(index))
	return getLink(request)
}

func getLink(request []byte) (link Link, err error) {
	err = query(unix.RTM_GETLINK, 0, request, func(_ uint16, data []byte) error {
		link = parseLink(data)
		return nil
	})
	if errors.Is(err, unix.ENODEV) {
		return Link{}, nil
	}
	if err != nil {
		return Link{}, fmt.Errorf("look up an interface: %w", err)
	}
	return link, nil
}

// parseLink reads a struct ifinfomsg and its attributes.
func parseLink(data []byte) Link {
	if len(data) < unix.SizeofIfInfomsg {
		return Link{}
	}
	flags := binary.NativeEndian.Uint32(data[8:])
	link := Link{
		Index: int(binary.NativeEndian.Uint32(data[4:])), Up: flags&unix.IFF_UP != 0,
		Running: flags&unix.IFF_RUNNING != 0,
	}
	hardware := binary.NativeEndian.Uint16(data[2:])
	attributes(data[unix.SizeofIfInfomsg:], func(kind uint16, value []byte) {
		switch kind {
		case unix.IFLA_IFNAME:
			link.Name = text(value)
		case unix.IFLA_MTU:
			link.MTU = int(number(value))
		case unix.IFLA_CARRIER:
			link.Carrier = len(value) > 0 && value[0] != 0
		case unix.IFLA_TXQLEN:
			link.Qlen = int(number(value))
		case unix.IFLA_LINKINFO:
			link.Tun = parseTun(value, hardware)
		}
	})
	return link
}

// parseTun returns nil for what is no TUN. The hardware type is that of arp(7), none for a TUN.
func parseTun(info []byte, hardware uint16) *Tun {
	var kindName string
	var details []byte
	attributes(info, func(kind uint16, value []byte) {
		switch kind {
		case unix.IFLA_INFO_KIND:
			kindName = text(value)
		case unix.IFLA_INFO_DATA:
			details = value
		}
	})
	if kindName != "tun" {
		return nil
	}
	var tun Tun
	isTun := len(details) == 0 && hardware == unix.ARPHRD_NONE
	attributes(details, func(kind uint16, value []byte) {
		set := len(value) > 0 && value[0] != 0
		switch kind {
		case unix.IFLA_TUN_TYPE:
			isTun = len(value) > 0 && value[0] == unix.IFF_TUN
		case unix.IFLA_TUN_PERSIST:
			tun.Persist = set
		case unix.IFLA_TUN_MULTI_QUEUE:
			tun.MultiQueue = set
		}
	})
	if !isTun {
		return nil
	}
	return &tun
}

func text(value []byte) string { return strings.TrimRight(string(value), "\x00") }

// Addrs returns the IPv4 addresses of the interface of that index in the kernel's order; of all
// interfaces for 0.
func (Kernel) Addrs(index int) ([]Addr, error) { return addrs(unix.AF_INET, index) }

// Networks6 returns the IPv6 addresses of all interfaces, none without IPv6.
func (Kernel) Networks6() ([]Addr, error) { return addrs(unix.AF_INET6, 0) }

func addrs(family byte, index int) ([]Addr, error) {
	request := make([]byte, unix.SizeofIfAddrmsg)
	request[0] = family
	binary.NativeEndian.PutUint32(request[4:], uint32(index))
	var all []Addr
	err := query(unix.RTM_GETADDR, unix.NLM_F_DUMP, request, func(_ uint16, data []byte) error {
		a, ok := ParseAddr(data)
		if ok && a.Local.Is4() == (family == unix.AF_INET) && (index == 0 || a.Index == index) {
			all = append(all, a)
		}
		return nil
	})
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return nil, fmt.Errorf("look up addresses: %w", err)
	}
	return all, nil
}

// ParseAddr reads a struct ifaddrmsg and its attributes, of either family; ok reports whether it is
// whole.
func ParseAddr(data []byte) (a Addr, ok bool) {
	if len(data) < unix.SizeofIfAddrmsg {
		return Addr{}, false
	}
	a = Addr{
		PrefixLen: int(data[1]), Secondary: data[2]&unix.IFA_F_SECONDARY != 0,
		Index: int(binary.NativeEndian.Uint32(data[4:])),
	}
	var address netip.Addr
	attributes(data[unix.SizeofIfAddrmsg:], func(kind uint16, value []byte) {
		switch kind {
		case unix.IFA_LOCAL:
			a.Local, _ = netip.AddrFromSlice(value)
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(value)
		}
	})
	switch {
	case !a.Local.IsValid(): // IPv6 without a peer
		a.Local = address
	case address != a.Local:
		a.Peer = address
	}
	return a, a.Local.IsValid()
}
