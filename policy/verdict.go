// Package policy decides which packets pass. It does no I/O and has no state but counters. A Hub
// judges packets on the server, a Client on a client.
package policy

import (
	"log/slog"
	"sync/atomic"
)

// A Verdict is Pass, or the reason why a packet is dropped.
type Verdict int

// The verdicts. Those from NoPeer on are given by other packages, and are listed here so that each
// reason has one name in the log.
const (
	Pass Verdict = iota
	// a virtio_net_hdr that contradicts its packet, a source route, IPv6 headers that cannot be
	// judged
	Malformed
	Source // not from an address of its sender, or from outside the private network
	// for neither the server, nor a client, nor a network that is pushed to its sender; or for
	// another address than the client's
	Destination
	NotPushed      // by the server's kernel, from a network that is not pushed to its receiver
	ClientToClient // between clients, which is switched off
	Broadcast      // for everybody in the network, or on the link
	Multicast      // from or for a group
	Loopback       // from or for a host's own loopback
	Martian        // from or for an address that no other host has
	// an ICMP error about a packet that was not sent to its sender, or a redirect
	ICMP
	// this machine sends it into the tunnel from an address that is not the client's
	Foreign

	NoPeer    // for an address that no client has
	Away      // for a network behind a client that has been away for long; its sender is told
	QueueFull // the queue to its receiver was full
	Memory    // all queues together were too large, and its receiver's was among the largest
	CoDel     // it waited too long in the queue to its receiver
	Stale     // its receiver was away for too long, or does not come back
	Cut       // was being sent when its receiver's connection broke
	Kernel    // the kernel refused it
	Defect    // a panic of this program while handling it
	verdicts
)

// String returns v's name in the log.
func (v Verdict) String() string {
	return [verdicts]string{
		"passed", "malformed", "source", "destination", "not_pushed", "client_to_client",
		"broadcast", "multicast", "loopback", "martian", "icmp_error", "foreign", "no_peer",
		"unreachable", "queue_full", "memory", "codel", "stale", "cut", "kernel", "defect",
	}[v]
}

// HubReasons returns why a server drops packets, in the order of its log.
func HubReasons() []Verdict {
	return []Verdict{
		Malformed, Source, Destination, NotPushed, ClientToClient, Broadcast, Multicast, Loopback,
		Martian, ICMP, NoPeer, Away, QueueFull, Memory, CoDel, Stale, Cut, Kernel, Defect,
	}
}

// ClientReasons returns why a client drops packets, in the order of its log.
func ClientReasons() []Verdict {
	return []Verdict{Malformed, Source, Destination, Foreign, QueueFull, CoDel, Cut, Kernel, ICMP}
}

// Drops counts dropped packets by reason. Its methods may be called concurrently.
type Drops [verdicts]atomic.Uint64

// Count adds n packets to those dropped for v.
func (d *Drops) Count(v Verdict, n uint64) { d[v].Add(n) }

// Log returns counts of these reasons, by their names, as a group for a log line.
func Log(counts map[string]uint64, reasons []Verdict) slog.Value {
	var attrs []slog.Attr
	for _, v := range reasons {
		attrs = append(attrs, slog.Uint64(v.String(), counts[v.String()]))
	}
	return slog.GroupValue(attrs...)
}

// Counts returns the counts of these reasons by their names.
func (d *Drops) Counts(reasons []Verdict) map[string]uint64 {
	counts := map[string]uint64{}
	for _, v := range reasons {
		counts[v.String()] = d[v].Load()
	}
	return counts
}
