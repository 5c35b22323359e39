package networks

import (
	"context"
	"net/netip"

	"tunnel/lease"
	"tunnel/packet"
	"tunnel/server/peers"
)

// Answers tells senders that the client of a network is away. Its methods may be called
// concurrently.
type Answers struct {
	device  Device
	own     lease.Pair   // of the hub
	network netip.Prefix // the private one
	waiting chan *packet.Packet
}

// Device is what Answers needs of a tun.Device.
type Device interface {
	WriteBatch(b *packet.Batch) (refused int, err error)
}

// room is how many answers may wait for the device.
const room = 64

// NewAnswers returns the Answers of a hub.
func NewAnswers(device Device, own lease.Pair, network netip.Prefix) *Answers {
	return &Answers{device: device, own: own, network: network,
		waiting: make(chan *packet.Packet, room)}
}

// To returns what to send to the client that has sent ip to a client that is away, nil for nothing,
// and reports whether a network behind a client was meant. The kernel is answered by Run. The
// caller owns the packet.
func (a *Answers) To(ip []byte, to peers.Sink, kernel bool) (answer *packet.Packet, behind bool) {
	address := packet.Destination(ip)
	if to.Held == nil || !address.Is4() || a.network.Contains(address) {
		return nil, false
	}
	if !to.Held.Answer() {
		return nil, true
	}
	if !kernel {
		return packet.HostUnreachable(a.own.Local, ip), true
	}
	// From the gateway of the kernel's route: the kernel takes no packet with its own address.
	if answer = packet.HostUnreachable(a.own.Peer, ip); answer != nil {
		select {
		case a.waiting <- answer:
		default:
			answer.Free()
		}
	}
	return nil, true
}

// Run writes the answers to the kernel to the device until ctx ends. The device's reader, on whose
// goroutine they are made, may not write.
func (a *Answers) Run(ctx context.Context) {
	var b packet.Batch
	for {
		select {
		case answer := <-a.waiting:
			b.Add(answer)
		case <-ctx.Done():
			return
		}
		_, err := a.device.WriteBatch(&b) // refused or not: it is an answer only
		b.Reset()
		if err != nil {
			return // the reader says so
		}
	}
}
