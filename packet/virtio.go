package packet

import (
	"encoding/binary"
	"errors"
)

// HeaderLen is the length in bytes of a virtio_net_hdr (include/uapi/linux/virtio_net.h) as a TUN device with
// IFF_VNET_HDR puts it before each packet.
const HeaderLen = 10

// Values of a Header's fields, as the kernel names them.
const (
	flagNeedsChecksum = 1    // VIRTIO_NET_HDR_F_NEEDS_CSUM
	flagDataValid     = 2    // VIRTIO_NET_HDR_F_DATA_VALID
	gsoNone           = 0    // VIRTIO_NET_HDR_GSO_NONE
	gsoTCPv4          = 1    // VIRTIO_NET_HDR_GSO_TCPV4
	gsoTCPv6          = 4    // VIRTIO_NET_HDR_GSO_TCPV6
	gsoUDP            = 5    // VIRTIO_NET_HDR_GSO_UDP_L4
	gsoECN            = 0x80 // VIRTIO_NET_HDR_GSO_ECN
)

// Offload is what a kernel, or a peer with its kernel, gives and takes beyond plain packets with complete checksums.
type Offload struct {
	Vnet bool // virtio_net_hdr before each packet, partial checksums, TCP super-packets (TSO4, TSO6)
	USO  bool // UDP super-packets as well (USO4, USO6: Linux 6.2)
}

func (o Offload) String() string {
	switch {
	case o.USO:
		return "tso+uso"
	case o.Vnet:
		return "tso"
	}
	return "none"
}

// ErrHeader says that a virtio_net_hdr contradicts the packet behind it.
var ErrHeader = errors.New("malformed virtio_net_hdr")

// Header is a virtio_net_hdr, little-endian in memory and on the wire.
type Header struct {
	Flags          uint8
	GSOType        uint8
	HeaderLength   uint16 // bytes of IP and transport header; a hint
	GSOSize        uint16 // bytes of payload per segment
	ChecksumStart  uint16 // offset in the packet from which the checksum counts
	ChecksumOffset uint16 // where it goes, from there
}

// ParseHeader reads the header at the start of record, which has at least HeaderLen bytes.
func ParseHeader(record []byte) Header {
	return Header{
		Flags:          record[0],
		GSOType:        record[1],
		HeaderLength:   binary.LittleEndian.Uint16(record[2:]),
		GSOSize:        binary.LittleEndian.Uint16(record[4:]),
		ChecksumStart:  binary.LittleEndian.Uint16(record[6:]),
		ChecksumOffset: binary.LittleEndian.Uint16(record[8:]),
	}
}

// Put writes h to the start of record.
func (h Header) Put(record []byte) {
	record[0], record[1] = h.Flags, h.GSOType
	binary.LittleEndian.PutUint16(record[2:], h.HeaderLength)
	binary.LittleEndian.PutUint16(record[4:], h.GSOSize)
	binary.LittleEndian.PutUint16(record[6:], h.ChecksumStart)
	binary.LittleEndian.PutUint16(record[8:], h.ChecksumOffset)
}

// Segmented tells whether the packet is a super-packet that somebody has to segment.
func (h Header) Segmented() bool { return h.GSOType != gsoNone }

// UDP tells whether the packet is a super-packet of UDP datagrams.
func (h Header) UDP() bool { return h.GSOType == gsoUDP }

// Check tells whether the kernel can be given a record that a stranger has sent: types that we know, sizes and offsets
// within the packet, and for a super-packet the checksum fields that segmentation relies on.
func Check(record []byte) error {
	if len(record) < HeaderLen {
		return ErrHeader
	}
	h, ip := ParseHeader(record), record[HeaderLen:]
	if h == (Header{}) {
		return nil
	}
	if h.Flags&^(flagNeedsChecksum|flagDataValid) != 0 || int(h.HeaderLength) > len(ip) {
		return ErrHeader
	}
	if h.Flags&flagNeedsChecksum != 0 && int(h.ChecksumStart)+int(h.ChecksumOffset)+2 > len(ip) {
		return ErrHeader
	}
	if h.GSOType == gsoNone {
		return nil
	}
	t, ok := transportOf(ip)
	if !ok || h.Flags&flagNeedsChecksum == 0 || h.GSOSize == 0 || int(h.ChecksumStart) != t.offset {
		return ErrHeader
	}
	switch kind := h.GSOType &^ gsoECN; {
	case kind == gsoTCPv4 && ip[0]>>4 == 4 && t.protocol == protocolTCP:
	case kind == gsoTCPv6 && ip[0]>>4 == 6 && t.protocol == protocolTCP:
	case kind == gsoUDP && h.GSOType == gsoUDP && t.protocol == protocolUDP:
		// The kernel takes no more than UDP_MAX_SEGMENTS (64 before Linux 6.9) at once.
		if len(ip)-t.payload > maxUDPSegments*int(h.GSOSize) {
			return ErrHeader
		}
	default:
		return ErrHeader
	}
	if int(h.ChecksumOffset) != t.checksum || t.payload >= len(ip) {
		return ErrHeader
	}
	return nil
}

// maxUDPSegments is the most datagrams in a super-packet.
const maxUDPSegments = 64
