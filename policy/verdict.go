// Package policy decides who may send which packet to whom. It does no I/O and holds no state but
// counters: a Hub judges at the server, a Client at the other end of a session.
package policy

import (
	"log/slog"
	"sync/atomic"
)

// A Verdict is what becomes of a packet: it passes, or the reason why it is dropped.
type Verdict int

// The verdicts. Those from NoPeer on are not the policy's: they are counted here so that each
// reason has one name in the log.
const (
	Pass Verdict = iota
	// a virtio_net_hdr that contradicts its packet, a source route, IPv6 headers that cannot be
	// judged
	Malformed
	Source // not from an address of its sender, or from outside the private network
	// for neither the server nor a client, or for another address than the client's
	Destination
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
	QueueFull // the queue to its receiver was full
	Memory    // all queues together held too much, and the one to its receiver more than others
	CoDel     // the queue to its receiver stood for too long
	Stale     // its receiver was away for too long, or does not come back
	Cut       // being sent when its receiver's connection broke
	Kernel    // the kernel refused it
	Defect    // this program panicked over it
	verdicts
)

// String returns v's name in the log.
func (v Verdict) String() string {
	return [verdicts]string{
		"passed", "malformed", "source", "destination", "client_to_client", "broadcast",
		"multicast", "loopback", "martian",
		"icmp_error", "foreign", "no_peer", "queue_full", "memory", "codel", "stale", "cut",
		"kernel", "defect",
	}[v]
}

// HubReasons returns why a server drops packets, in the order of its log.
func HubReasons() []Verdict {
	return []Verdict{
		Malformed, Source, Destination, ClientToClient, Broadcast, Multicast, Loopback, Martian,
		ICMP, NoPeer, QueueFull, Memory, CoDel, Stale, Cut, Kernel, Defect,
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

// Log returns the counts of these reasons as a group for a log line.
func (d *Drops) Log(reasons []Verdict) slog.Value {
	var attrs []slog.Attr
	for _, v := range reasons {
		attrs = append(attrs, slog.Uint64(v.String(), d[v].Load()))
	}
	return slog.GroupValue(attrs...)
}
