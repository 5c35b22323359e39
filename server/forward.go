package server

import (
	"tunnel/packet"
)

// forward is the way out: what the kernel sends into the device goes to the queue of the peer that has the destination.
// It never waits for a peer. It returns when the device ends.
func (s *Server) forward() error {
	var b packet.Batch
	for {
		b.Reset()
		if err := s.Device.ReadBatch(&b); err != nil {
			return err
		}
		for i := range b.Len() {
			record := b.Record(i)
			v := s.policy.fromKernel(record)
			if v == pass {
				v = s.send(record)
			}
			if v != pass {
				s.drops.count(v, 1)
			}
		}
	}
}

// send queues a packet for the peer that has its destination address.
func (s *Server) send(record []byte) verdict {
	to := s.peers.at(packet.Destination(record))
	switch {
	case to == nil:
		return dropNoPeer
	case !to.queue.Push(record):
		return dropQueue
	}
	return pass
}

// receive returns the way in for what p sends: to the kernel, or to another peer's queue.
func (p *peer) receive(s *Server) func(*packet.Batch) error {
	return func(b *packet.Batch) error {
		b.Filter(func(record []byte) bool {
			v := s.policy.fromClient(p.address, record)
			toKernel := v == pass && packet.Destination(record) == s.own.Local
			if v == pass && !toKernel {
				v = s.send(record)
			}
			if v != pass {
				s.drops.count(v, 1)
			}
			return toKernel
		})
		refused, err := s.Device.WriteBatch(b)
		if refused > 0 {
			s.drops.count(dropKernel, refused)
		}
		return err
	}
}
