package packet

import (
	"bytes"
	"net/netip"
	"testing"
)

// A super-packet is of the flow of its segments, which has one hash, and extends as they do.
func TestFlowOfSegments(t *testing.T) {
	for _, c := range superPackets() {
		flow, hash := FlowOf(c.record[HeaderLen:]), FlowHash(c.record[HeaderLen:])
		if flow.SourcePort != 40000 || flow.DestinationPort != 9 ||
			flow.Source != Source(c.record[HeaderLen:]) ||
			flow.Destination != Destination(c.record[HeaderLen:]) {
			t.Errorf("%s: %+v", c.name, flow)
		}
		bytesOf, packets := Extent(c.record, FramingVnet)
		Segments(bytes.Clone(c.record), func(ip []byte) {
			bytesOf -= len(ip)
			packets--
			if FlowOf(ip) != flow || FlowHash(ip) != hash {
				t.Errorf("%s: a segment is of %+v", c.name, FlowOf(ip))
			}
		})
		if bytesOf != 0 || packets != 0 {
			t.Errorf("%s: the extent is %d bytes and %d packets too large", c.name, bytesOf, packets)
		}
	}
}

// Fragments, and protocols without ports, are of one flow between two addresses.
func TestFlowWithoutPorts(t *testing.T) {
	record := super(false, protocolUDP, 1000, 64)
	fragment := record[HeaderLen:]
	fragment[6] = 0x20 // more come
	echo := ipv6("fd00::3", "fd00::1", 100)
	echo[6] = 58
	for _, c := range []struct {
		ip   []byte
		want Flow
	}{
		{fragment, Flow{Source: netip.MustParseAddr("10.1.1.3"),
			Destination: netip.MustParseAddr("10.1.1.1"), Protocol: protocolUDP}},
		{echo, Flow{Source: netip.MustParseAddr("fd00::3"),
			Destination: netip.MustParseAddr("fd00::1"), Protocol: 58}},
	} {
		if got := FlowOf(c.ip); got != c.want {
			t.Errorf("%+v is %+v", c.want, got)
		}
		if n, packets := Extent(c.ip, FramingIP); n != len(c.ip) || packets != 1 {
			t.Errorf("%+v: %d bytes, %d packets", c.want, n, packets)
		}
	}
}
