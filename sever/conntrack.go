package sever

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

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
	trackStatus   = 3  // CTA_STATUS, big-endian
	tupleIP       = 1  // CTA_TUPLE_IP; in it are CTA_IP_V4_SRC, CTA_IP_V4_DST and the two of IPv6
	trackID       = 12 // CTA_ID
	trackZone     = 18 // CTA_ZONE

	translated = 1<<4 | 1<<5 // IPS_SRC_NAT, IPS_DST_NAT (nf_conntrack_common.h)
)

// forget deletes the conntrack entries of a family that have an address in one of the networks in
// the tuple of either direction, and adds their number to n; with plain only those whose addresses
// are not translated. A kernel without connection tracking has none.
func forget(c *netlink.Conn, family uint8, networks []netip.Prefix, plain bool, n *int) error {
	if len(networks) == 0 {
		return nil
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
		name, err := nameOf(m, networks, plain)
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

// nameOf returns the attributes by which the kernel finds the entry m, nil if it has no address
// in one of the networks, or with plain if it is translated.
func nameOf(m netlink.Message, networks []netip.Prefix, plain bool) ([]byte, error) {
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
			ours = ours || has(attribute.Data, networks)
			name = append(name, attribute)
		case tupleReply:
			ours = ours || has(attribute.Data, networks)
		case trackID, trackZone:
			name = append(name, attribute)
		case trackStatus:
			if plain && len(attribute.Data) == 4 &&
				binary.BigEndian.Uint32(attribute.Data)&translated != 0 {
				return nil, nil
			}
		}
	}
	if !ours {
		return nil, nil
	}
	return netlink.MarshalAttributes(name)
}

// has reports whether an address of a tuple is in one of the networks.
func has(tuple []byte, networks []netip.Prefix) bool {
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
			a, ok := netip.AddrFromSlice(address.Data)
			if ok && slices.ContainsFunc(networks,
				func(n netip.Prefix) bool { return n.Contains(a) }) {
				return true
			}
		}
	}
	return false
}
