package client

import (
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"

	"tunnel/packet"
	"tunnel/transport"
)

// A verdict is what becomes of a packet: it passes, or the reason why it is dropped.
type verdict int

const (
	pass            verdict = iota
	dropMalformed           // from the server: a virtio_net_hdr that contradicts its packet
	dropSource              // from the server: its source lies outside the private network
	dropDestination         // from the server: for another address than this client's
	dropForeign             // from this machine: its source is not this client's address
	// the queue to the server was full, perhaps because there was no connection
	dropQueue
	dropCoDel  // the queue to the server stood for too long
	dropCut    // on its way out when a connection broke
	dropKernel // the kernel refused it
	// from the server: an ICMP error about a packet that this client has not sent into the tunnel
	dropICMP
	verdicts
)

// name is the verdict's name in logs.
func (v verdict) name() string {
	return [verdicts]string{"passed", "malformed", "source", "destination", "foreign", "queue_full",
		"codel", "cut", "kernel", "icmp_error"}[v]
}

// judge looks at record i of a batch from the server. A server is trusted with the private network,
// not with the rest of this machine.
func judge(link transport.Link, b *packet.Batch, i int) verdict {
	switch {
	case b.Framing() == packet.FramingVnet && packet.Check(b.Record(i)) != nil:
		return dropMalformed
	case !link.Network.Contains(packet.Source(b.IP(i))):
		return dropSource
	case packet.Destination(b.IP(i)) != link.Address:
		return dropDestination
	}
	// What comes by the tunnel says nothing of other paths than the tunnel's.
	err := packet.CheckPaths(b.IP(i), func(sender, receiver netip.Addr) bool {
		return sender == link.Address && link.Network.Contains(receiver)
	})
	switch {
	case err == nil:
		return pass
	case errors.Is(err, packet.ErrICMP):
		return dropICMP
	}
	return dropMalformed
}

// drops counts the packets that did not pass, by reason.
type drops [verdicts]atomic.Uint64

// counts returns what has been counted, for a log line.
func (d *drops) counts() slog.Value { return packet.LogCounts(d[:], verdict.name) }
