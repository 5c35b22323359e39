package server

import (
	"slices"
	"time"

	"tunnel/defect"
	"tunnel/packet"
	"tunnel/policy"
	"tunnel/server/peers"
	"tunnel/transport"
)

// forward is the way out: what the kernel sends into the device goes to the queue of the peer that
// has the destination. It never waits for a peer. It returns when the device ends; after a panic it
// reads on.
func (s *Server) forward() error {
	for {
		err := s.read()
		if !s.defects.Note(err, s.Log) {
			return err
		}
		time.Sleep(restartPause)
	}
}

// restartPause is how long something that has ended by a panic does not run: a panic that comes
// again must not take a core.
const restartPause = 100 * time.Millisecond

// read reads the device until that ends. A panic is the error.
func (s *Server) read() (err error) {
	defer defect.Catch(&err)
	var to outbox
	return s.Device.ReadBatches(func(b *packet.Batch) {
		for next := 0; next < b.Len(); {
			var failed error
			if next, failed = s.route(b, next, &to); s.defects.Note(failed, s.Log) {
				s.drops.Count(policy.Defect, 1)
				to.fail()
			}
		}
		to.flush()
	})
}

// route sends the records of b, beginning with the one with index from, to their peers. After a
// panic it returns the index of the record behind the one that met it, which is lost, and the
// error.
func (s *Server) route(b *packet.Batch, from int, to *outbox) (next int, err error) {
	defer defect.Catch(&err)
	for next = from; next < b.Len(); {
		i := next
		next++
		to.current = nil
		v := s.policy.FromKernel(b.IP(i))
		if v == policy.Pass {
			v = s.send(b, i, to)
		}
		if v != policy.Pass {
			s.drops.Count(v, 1)
		}
	}
	return next, nil
}

// outbox is the queues that a batch has gone to: they are flushed once, when all of it is there.
type outbox struct {
	queues  []*transport.Lanes
	current *peers.Peer // to whom the record goes that is being sent
}

func (o *outbox) add(q *transport.Lanes) {
	if !slices.Contains(o.queues, q) { // mostly one or two
		o.queues = append(o.queues, q)
	}
}

func (o *outbox) flush() {
	for i, q := range o.queues {
		q.Flush()
		o.queues[i] = nil
	}
	o.queues = o.queues[:0]
}

// fail ends the peer whose queue a panic has left half changed.
func (o *outbox) fail() {
	if o.current != nil {
		o.current.End(&transport.CloseError{Code: transport.CodeInternal, Reason: errDefect})
		o.current = nil
	}
}

// send takes record i out of b and queues it for the peer that gets what is for its destination
// address, or for its return.
func (s *Server) send(b *packet.Batch, i int, out *outbox) policy.Verdict {
	address := packet.Destination(b.IP(i))
	switch to, ok := s.peers.Lookup(address); {
	case ok && to.Peer != nil:
		out.current = to.Peer
		to.Peer.Queue.Push(b.Take(i))
		out.add(to.Peer.Queue)
	case !ok || !to.Held.Add(b, i):
		return s.policy.Unreachable(address)
	}
	return policy.Pass
}

// receiver returns what takes the batches that p sends through f: to the kernel, or to another
// peer's queue.
func (s *Server) receiver(p *peers.Peer, f *peers.Subflow) func(*packet.Batch) error {
	ended := f.Context().Done()
	var to outbox
	return func(b *packet.Batch) error {
		select {
		case <-ended: // it is being told so; another may have its address already
			return nil
		default:
		}
		b.Filter(func(i int) bool {
			v := s.policy.FromMember(&p.Member, b, i)
			toKernel := v == policy.Pass && packet.Destination(b.IP(i)) == s.own.Local
			if v == policy.Pass && !toKernel {
				v = s.send(b, i, &to)
			}
			if v != policy.Pass {
				s.drops.Count(v, 1)
			}
			return toKernel
		})
		to.flush()
		refused, err := s.Device.WriteBatch(b)
		if refused > 0 {
			s.drops.Count(policy.Kernel, uint64(refused))
		}
		return err
	}
}
