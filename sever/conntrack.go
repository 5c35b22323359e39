package sever

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// From include/uapi/linux/netfilter/nfnetlink_conntrack.h and nfnetlink.h.
const (
	conntrackGet    = 1<<8 | 1 // NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
	conntrackDelete = 1<<8 | 2 // IPCTNL_MSG_CT_DELETE
	generalLen      = 4        // struct nfgenmsg

	tupleOriginal = 1  // CTA_TUPLE_ORIG
	tupleReply    = 2  // CTA_TUPLE_REPLY
	tupleIP       = 1  // CTA_TUPLE_IP; in it are CTA_IP_V4_SRC, CTA_IP_V4_DST and the two of IPv6
	trackID       = 12 // CTA_ID
	trackZone     = 18 // CTA_ZONE
)

// forget deletes the conntrack entries that have a in the tuple of either direction, and adds their
// number to n. A kernel without connection tracking has none.
func forget(c *netlink.Conn, a netip.Addr, n *int) error {
	family := uint8(unix.AF_INET)
	if a.Is6() {
		family = unix.AF_INET6
	}
	general := []byte{family, 0, 0, 0}
	found, err := c.Execute(netlink.Message{
		Header: netlink.Header{Type: conntrackGet, Flags: netlink.Request | netlink.Dump},
		Data:   general,
	})
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP): // no such subsystem
		return nil
	case err != nil:
		return fmt.Errorf("list: %w", err)
	}
	for _, m := range found {
		name, err := nameOf(m, a)
		if err != nil {
			return err
		}
		if name == nil {
			continue
		}
		_, err = c.Execute(netlink.Message{
			Header: netlink.Header{Type: conntrackDelete,
				Flags: netlink.Request | netlink.Acknowledge},
			Data: append(general[:generalLen:generalLen], name...),
		})
		switch {
		case err == nil:
			*n++
		case errors.Is(err, unix.ENOENT): // it has ended by itself
		default:
			return err
		}
	}
	return nil
}

// nameOf returns the attributes by which the kernel finds the entry m, nil if it does not have a.
func nameOf(m netlink.Message, a netip.Addr) ([]byte, error) {
	if len(m.Data) < generalLen {
		return nil, nil
	}
	all, err := netlink.UnmarshalAttributes(m.Data[generalLen:])
	if err != nil {
		return nil, err
	}
	ours := false
	var name []netlink.Attribute
	for _, attribute := range all {
		switch attribute.Type &^ (netlink.Nested | netlink.NetByteOrder) {
		case tupleOriginal:
			ours = ours || has(attribute.Data, a)
			name = append(name, attribute)
		case tupleReply:
			ours = ours || has(attribute.Data, a)
		case trackID, trackZone:
			name = append(name, attribute)
		}
	}
	if !ours {
		return nil, nil
	}
	return netlink.MarshalAttributes(name)
}

// has reports whether a is an address of a tuple.
func has(tuple []byte, a netip.Addr) bool {
	parts, err := netlink.UnmarshalAttributes(tuple)
	if err != nil {
		return false
	}
	for _, part := range parts {
		if part.Type&^netlink.Nested != tupleIP {
			continue
		}
		addresses, err := netlink.UnmarshalAttributes(part.Data)
		if err != nil {
			return false
		}
		for _, address := range addresses {
			if b, ok := netip.AddrFromSlice(address.Data); ok && b == a {
				return true
			}
		}
	}
	return false
}
