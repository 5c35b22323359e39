package server

import (
	"log/slog"
	"net/netip"
	"sync/atomic"

	"tunnel/packet"
)

// A verdict is what becomes of a packet: it passes, or the reason why it is dropped.
type verdict int

const (
	pass            verdict = iota
	dropMalformed           // a virtio_net_hdr that contradicts its packet
	dropSource              // a client's packet does not carry the client's own source address
	dropDestination         // a client's packet is for neither the server nor a client
	dropClient              // between clients, which is switched off
	dropNoPeer              // for an address that no client has
	dropQueue               // the queue to its peer was full
	dropCoDel               // the queue to its peer stood for too long
	dropStale               // its client was away for too long
	dropKernel              // the kernel refused it
	verdicts
)

// name is the verdict's name in logs.
func (v verdict) name() string {
	return [verdicts]string{"passed", "malformed", "source", "destination", "client_to_client", "no_peer", "queue_full", "codel", "stale", "kernel"}[v]
}

// policy decides which packets pass. Nothing in it changes while the server runs.
type policy struct {
	server         netip.Addr   // the server's own address
	network        netip.Prefix // the private network
	clientToClient bool
}

// fromClient judges a packet that the client with this address has sent.
func (p *policy) fromClient(client netip.Addr, ip []byte) verdict {
	if packet.Source(ip) != client {
		return dropSource
	}
	switch to := packet.Destination(ip); {
	case to == p.server:
		return pass
	case !p.network.Contains(to):
		return dropDestination
	case !p.clientToClient:
		return dropClient
	}
	return pass
}

// fromKernel judges a packet that the server's kernel sends into the device. When clients are kept apart it must not
// join them either, be its ip_forward on or off.
func (p *policy) fromKernel(ip []byte) verdict {
	from := packet.Source(ip)
	if !p.clientToClient && from != p.server && p.network.Contains(from) {
		return dropClient
	}
	return pass
}

// drops counts the packets that did not pass, by reason.
type drops [verdicts]atomic.Uint64

func (d *drops) count(v verdict, n uint64) { d[v].Add(n) }

// counts returns what has been counted, for a log line.
func (d *drops) counts() slog.Value { return packet.LogCounts(d[:], verdict.name) }
