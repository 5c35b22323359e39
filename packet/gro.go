package packet

import (
	"bytes"
	"encoding/binary"
)

// dontFragment is the flag of that name in the byte of an IPv4 header that has the flags.
const dontFragment = 0x40

// sameFlow reports whether the headers of two packets with the transport t, up to the ports, are
// those of one flow: the same but for lengths, checksums and IPv4's identification (as
// inet_gro_receive in net/ipv4/af_inet.c and its IPv6 sibling compare them).
func sameFlow(a, b []byte, t transport) bool {
	if a[0]>>4 == 4 {
		// Version, length and type of service; flags and offset, TTL, protocol; addresses.
		if !bytes.Equal(a[:2], b[:2]) || !bytes.Equal(a[6:10], b[6:10]) ||
			!bytes.Equal(a[12:20], b[12:20]) {
			return false
		}
	} else if !bytes.Equal(a[:4], b[:4]) || !bytes.Equal(a[6:40], b[6:40]) {
		return false
	}
	return bytes.Equal(a[t.offset:t.offset+4], b[t.offset:t.offset+4])
}

// putSuper makes a record a super-packet whose segments carry size bytes each. The record has the
// headers of the first packet and the payload of all; putSuper sets the lengths, the partial
// checksum and the virtio_net_hdr.
func putSuper(record []byte, t transport, size int) {
	ip := record[HeaderLen:]
	h := Header{
		Flags:          flagNeedsChecksum,
		GSOType:        gsoUDP,
		HeaderLength:   uint16(t.payload),
		GSOSize:        uint16(size),
		ChecksumStart:  uint16(t.offset),
		ChecksumOffset: uint16(t.checksum),
	}
	n := len(ip) - t.offset
	if t.protocol == protocolUDP {
		binary.BigEndian.PutUint16(ip[t.offset+4:], uint16(n))
	} else if h.GSOType = gsoTCPv4; ip[0]>>4 == 6 {
		h.GSOType = gsoTCPv6
	}
	if ip[0]>>4 == 4 {
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		headerChecksum(ip)
	} else {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-ipv6HeaderLen))
	}
	binary.BigEndian.PutUint16(ip[t.offset+t.checksum:], fold(pseudoHeader(ip, t.protocol, n)))
	h.Put(record)
}
