package server

import (
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"

	"tunnel/packet"
)

// A verdict is what becomes of a packet: it passes, or the reason why it is dropped.
type verdict int

const (
	pass            verdict = iota
	dropMalformed           // a virtio_net_hdr that contradicts its packet, a source route, IPv6 headers that cannot be judged
	dropSource              // a client's packet does not carry an address of the client's own
	dropDestination         // a client's packet is for neither the server nor a client
	dropClient              // between clients, which is switched off
	dropBroadcast           // for everybody in the network, or on the wire
	dropMulticast           // from or for a group
	dropLoopback            // from or for a host's own loopback
	dropMartian             // from or for an address that nobody has on another host
	dropICMP                // an ICMP error about a packet that was not sent to its sender, or a redirect
	dropNoPeer              // for an address that no client has
	dropQueue               // the queue to its peer was full
	dropMemory              // all queues together held too much, and the one to its peer more than others
	dropCoDel               // the queue to its peer stood for too long
	dropStale               // its client was away for too long, or does not come back
	dropCut                 // on its way out when its client's connection broke
	dropKernel              // the kernel refused it
	dropDefect              // this program panicked over it
	verdicts
)

// name is the verdict's name in logs.
func (v verdict) name() string {
	return [verdicts]string{
		"passed", "malformed", "source", "destination", "client_to_client", "broadcast", "multicast", "loopback", "martian",
		"icmp_error", "no_peer", "queue_full", "memory", "codel", "stale", "cut", "kernel", "defect",
	}[v]
}

// policy decides which packets pass. Nothing in it changes while the server runs but who is connected.
type policy struct {
	server         netip.Addr   // the server's own address
	network        netip.Prefix // the private network
	clientToClient bool
	clients        *peers
}

// fromClient judges a packet that p has sent.
func (l *policy) fromClient(p *peer, ip []byte) verdict {
	if v := l.between(p, ip); v != pass {
		return v
	}
	// What p says of paths counts only for packets that were sent to p.
	to := packet.Destination(ip)
	err := packet.CheckPaths(ip, func(sender, receiver netip.Addr) bool { return sender == to && p.has(receiver) })
	switch {
	case err == nil:
		return pass
	case errors.Is(err, packet.ErrICMP):
		return dropICMP
	}
	return dropMalformed
}

// between judges the addresses of a packet that p has sent.
func (l *policy) between(p *peer, ip []byte) verdict {
	if from := packet.Source(ip); !p.has(from) {
		if v := special(from); v != pass {
			return v
		}
		return dropSource
	}
	to := packet.Destination(ip)
	if to == l.server {
		return pass
	}
	if !l.network.Contains(to) {
		if v := special(to); v != pass {
			return v
		}
		if _, ok := l.clients.at(to); !ok { // behind no client
			return dropDestination
		}
	} else if l.everybody(to) {
		return dropBroadcast
	}
	if !l.clientToClient {
		return dropClient
	}
	return pass
}

// fromKernel judges a packet that the server's kernel sends into the device. When clients are kept apart it must not
// join them either, be its ip_forward on or off.
func (l *policy) fromKernel(ip []byte) verdict {
	from := packet.Source(ip)
	if from == l.server {
		return pass
	}
	if !l.clientToClient {
		if _, ok := l.clients.at(from); ok || l.network.Contains(from) {
			return dropClient
		}
	}
	if v := special(packet.Destination(ip)); v != pass {
		return v
	}
	return special(from)
}

// unreachable tells why a packet that passed finds no peer.
func (l *policy) unreachable(to netip.Addr) verdict {
	if l.network.Contains(to) && l.everybody(to) {
		return dropBroadcast
	}
	if v := special(to); v != pass && !l.network.Contains(to) {
		return v
	}
	return dropNoPeer
}

// everybody tells whether an address of the network is its broadcast address: the last, and the first, as it once was.
func (l *policy) everybody(a netip.Addr) bool {
	return a == l.network.Addr() || !l.network.Contains(a.Next())
}

// special tells whether packets from or to a are never forwarded (RFC 6890): pass is no. Link-local addresses are among
// them, which mean another host on every link (RFC 3927 section 7).
func special(a netip.Addr) verdict {
	if !a.Is4() {
		switch {
		case a.IsMulticast():
			return dropMulticast
		case a.IsLoopback():
			return dropLoopback
		case a.IsUnspecified(), a.IsLinkLocalUnicast(), a.Is4In6():
			return dropMartian
		}
		return pass
	}
	switch b := a.As4(); {
	case b == [4]byte{255, 255, 255, 255}:
		return dropBroadcast
	case b[0] >= 240, b[0] == 0, b[0] == 169 && b[1] == 254:
		return dropMartian
	case b[0] >= 224:
		return dropMulticast
	case b[0] == 127:
		return dropLoopback
	}
	return pass
}

// drops counts the packets that did not pass, by reason.
type drops [verdicts]atomic.Uint64

func (d *drops) count(v verdict, n uint64) { d[v].Add(n) }

// counts returns what has been counted, for a log line.
func (d *drops) counts() slog.Value { return packet.LogCounts(d[:], verdict.name) }
