package server

import (
	"slices"

	"tunnel/packet"
	"tunnel/transport"
)

// forward is the way out: what the kernel sends into the device goes to the queue of the peer that has the destination.
// It never waits for a peer. It returns when the device ends.
func (s *Server) forward() error {
	var to outbox
	return s.Device.ReadBatches(func(b *packet.Batch) {
		for i := range b.Len() {
			v := s.policy.fromKernel(b.IP(i))
			if v == pass {
				v = s.send(b, i, &to)
			}
			if v != pass {
				s.drops.count(v, 1)
			}
		}
		to.flush()
	})
}

// outbox is the queues that a batch has gone to: they are flushed once, when all of it is there.
type outbox []*transport.Lanes

func (o *outbox) add(q *transport.Lanes) {
	if !slices.Contains(*o, q) { // mostly one or two
		*o = append(*o, q)
	}
}

func (o *outbox) flush() {
	for i, q := range *o {
		q.Flush()
		(*o)[i] = nil
	}
	*o = (*o)[:0]
}

// send takes record i out of b and queues it for the peer that gets what is for its destination address, or for its return.
func (s *Server) send(b *packet.Batch, i int, out *outbox) verdict {
	address := packet.Destination(b.IP(i))
	switch to, ok := s.peers.at(address); {
	case ok && to.peer != nil:
		to.peer.queue.Push(b.Take(i))
		out.add(to.peer.queue)
	case !ok || !to.held.add(b, i):
		return s.policy.unreachable(address)
	}
	return pass
}

// receive returns the way in for what p sends by l: to the kernel, or to another peer's queue.
func (p *peer) receive(s *Server, l *lane) func(*packet.Batch) error {
	var to outbox
	return func(b *packet.Batch) error {
		select {
		case <-l.ctx.Done(): // it is being told so; another may have its address already
			return nil
		default:
		}
		b.Filter(func(i int) bool {
			v := s.judge(p, b, i)
			toKernel := v == pass && packet.Destination(b.IP(i)) == s.own.Local
			if v == pass && !toKernel {
				v = s.send(b, i, &to)
			}
			if v != pass {
				s.drops.count(v, 1)
			}
			return toKernel
		})
		to.flush()
		refused, err := s.Device.WriteBatch(b)
		if refused > 0 {
			s.drops.count(dropKernel, uint64(refused))
		}
		return err
	}
}

// judge looks at record i of a batch that p has sent.
func (s *Server) judge(p *peer, b *packet.Batch, i int) verdict {
	if b.Framing() == packet.FramingVnet && packet.Check(b.Record(i)) != nil {
		return dropMalformed
	}
	return s.policy.fromClient(p, b.IP(i))
}
