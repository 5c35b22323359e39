package wan

import (
	"encoding/binary"

	"tunnel/packet"
)

// ethernetLen is the length in bytes of an Ethernet header.
const ethernetLen = 14

// shape describes a frame as the wire has it: one frame, or the segments of a super-frame.
type shape struct {
	segments int  // at least 1
	size     int  // bytes of each segment but the last, headers included
	last     int  // bytes of the last segment
	spared   bool // exempt from loss
}

// bytes returns the size of segment i, 0 ≤ i < segments.
func (s shape) bytes(i int) int {
	if i < s.segments-1 {
		return s.size
	}
	return s.last
}

// plainShape returns the shape of an Ethernet frame that is no super-frame.
func plainShape(frame []byte) shape {
	return shape{segments: 1, last: len(frame), spared: isARP(frame)}
}

// superShape returns the shape of a record that a host's kernel has sent: a virtio_net_hdr and an
// Ethernet frame, which may be a super-frame. Its transport header is where the partial checksum
// begins (virtio_net_hdr_from_skb in include/linux/virtio_net.h).
func superShape(record []byte) shape {
	h, frame := packet.ParseHeader(record), record[packet.HeaderLen:]
	if !h.Segmented() {
		return plainShape(frame)
	}
	const udpHeaderLen, dataOffset = 8, 12
	headers := int(h.ChecksumStart)
	if h.UDP() {
		headers += udpHeaderLen
	} else {
		headers += int(frame[headers+dataOffset]>>4) * 4
	}
	payload, size := len(frame)-headers, int(h.GSOSize)
	n := max(1, (payload+size-1)/size)
	return shape{segments: n, size: headers + size, last: headers + payload - (n-1)*size}
}

// isARP reports whether an Ethernet frame carries ARP.
func isARP(frame []byte) bool {
	const etherType, arp = 12, 0x0806
	return len(frame) >= etherType+2 && binary.BigEndian.Uint16(frame[etherType:]) == arp
}

// survivors calls emit with the segments of a super-frame that are not missing, in order. Those
// without a gap between them make one super-frame, as GRO would join them. The record is changed;
// emit must not keep its argument.
func survivors(record []byte, missing []bool, emit func(record []byte) error) error {
	ethernet := [ethernetLen]byte(record[packet.HeaderLen:])
	h := packet.ParseHeader(record)
	h.ChecksumStart -= ethernetLen
	record = record[ethernetLen:] // package packet knows no Ethernet header
	h.Put(record)
	var joined packet.Batch
	defer joined.Reset()
	i := 0
	packet.Segments(record, func(ip []byte) {
		if i++; missing[i-1] {
			return
		}
		p := packet.NewPacket(packet.HeaderLen + len(ip))
		packet.Header{}.Put(p.Record())
		copy(p.IP(), ip)
		if joined.Join(p.Record(), true) {
			p.Free()
			return
		}
		joined.Add(p)
	})
	joined.Seal()
	for i := range joined.Len() {
		if err := emit(framed(joined.Record(i), ethernet)); err != nil {
			return err
		}
	}
	return nil
}

// framed returns a record with an Ethernet header before its IP packet.
func framed(record []byte, ethernet [ethernetLen]byte) []byte {
	h := packet.ParseHeader(record)
	if h.Segmented() {
		h.ChecksumStart += ethernetLen
		h.HeaderLength += ethernetLen
	}
	out := make([]byte, packet.HeaderLen, ethernetLen+len(record))
	h.Put(out)
	out = append(out, ethernet[:]...)
	return append(out, record[packet.HeaderLen:]...)
}
