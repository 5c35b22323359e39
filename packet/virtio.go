package packet

import (
	"encoding/binary"
	"errors"
)

// HeaderLen is the length in bytes of a virtio_net_hdr (include/uapi/linux/virtio_net.h) as a TUN
// device with IFF_VNET_HDR puts it before each packet.
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

// Offload describes what a kernel, or a peer, sends and accepts besides plain packets with complete
// checksums.
type Offload struct {
	// virtio_net_hdr before each packet, partial checksums, TCP super-packets (TSO4, TSO6)
	Vnet bool
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

// ErrHeader is the error for a virtio_net_hdr that contradicts its packet.
var ErrHeader = errors.New("malformed virtio_net_hdr")

// ErrAmplifies is the error for a super-packet with more segments, or smaller ones, than Check
// accepts; Segments can still segment it.
var ErrAmplifies = errors.New("a super-packet of too many or too small segments")

// Header is a virtio_net_hdr, little-endian in memory and on the wire.
type Header struct {
	Flags          uint8
	GSOType        uint8
	HeaderLength   uint16 // bytes of IP and transport header; a hint
	GSOSize        uint16 // bytes of payload per segment
	ChecksumStart  uint16 // offset in the packet from which the checksum is computed
	ChecksumOffset uint16 // offset of the checksum field from ChecksumStart
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

// Segmented reports whether the packet is a super-packet.
func (h Header) Segmented() bool { return h.GSOType != gsoNone }

// completes reports whether the partial checksum of h is that of the transport header t.
func (h Header) completes(t transport) bool {
	return int(h.ChecksumStart) == t.offset && int(h.ChecksumOffset) == t.checksum
}

// UDP reports whether the packet is a super-packet of UDP datagrams.
func (h Header) UDP() bool { return h.GSOType == gsoUDP }

// Check returns nil if a record that a peer has sent may be given to the kernel or to another peer.
// A partial checksum must be that of the packet's own TCP or UDP header, so that completing it
// changes no byte that a policy has checked. (The kernel's virtio_net_hdr_to_skb,
// include/linux/virtio_net.h, allows any place behind the first 20 bytes, and older kernels any at
// all.) Fragments, other protocols and IPv6 routing headers therefore need a complete checksum; of
// these the kernel leaves only the last to a device. The error is ErrHeader for a header that
// contradicts its packet, and ErrAmplifies for a super-packet of too many or too small segments.
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
	if h.Flags&flagNeedsChecksum == 0 {
		if h.GSOType != gsoNone {
			return ErrHeader
		}
		return nil
	}
	t, ok := transportOf(ip)
	if !ok || !h.completes(t) {
		return ErrHeader
	}
	if h.GSOType == gsoNone {
		return nil
	}
	switch kind := h.GSOType &^ gsoECN; {
	case kind == gsoTCPv4 && ip[0]>>4 == 4 && t.protocol == protocolTCP:
	case kind == gsoTCPv6 && ip[0]>>4 == 6 && t.protocol == protocolTCP:
	case h.GSOType == gsoUDP && t.protocol == protocolUDP:
	default:
		return ErrHeader
	}
	// The kernel refuses both sizes; 65535 is its GSO_BY_FRAGS.
	if h.GSOSize == 0 || h.GSOSize == 0xffff || t.payload >= len(ip) {
		return ErrHeader
	}
	if size := int(h.GSOSize); size < t.leastSize() || t.segments(ip, size) > t.mostSegments() {
		return ErrAmplifies
	}
	return nil
}

// The maximum segments of a super-packet. For UDP it is the number that every kernel with UDP
// super-packets accepts (UDP_MAX_SEGMENTS, 64 before Linux 6.9). For TCP it is enough for 64 KiB at
// the smallest MSS in use, 536 bytes less timestamps (RFC 9293 section 3.7.1).
const (
	maxUDPSegments = 64
	maxTCPSegments = 128
)

// leastSize returns the fewest bytes of payload per segment that a super-packet may have: as many
// as are in the headers that each segment repeats. Segmentation then at most doubles the bytes.
func (t transport) leastSize() int { return t.payload }

// mostSegments returns the most segments of a super-packet.
func (t transport) mostSegments() int {
	if t.protocol == protocolUDP {
		return maxUDPSegments
	}
	return maxTCPSegments
}

// segments returns how many segments with up to size bytes of payload the packet becomes, at least
// one.
func (t transport) segments(ip []byte, size int) int {
	return max(1, (len(ip)-t.payload+size-1)/size)
}

// Wire returns the size of p on a link, in bytes: for a super-packet, that of all segments with
// their headers. Linux charges its queues the same way (qdisc_pkt_len_init in net/core/dev.c).
func (p *Packet) Wire() int {
	bytes, _ := Extent(p.data, FramingVnet)
	return HeaderLen + bytes
}
