package server

import (
	"slices"
	"time"

	"tunnel/defect"
	"tunnel/packet"
	"tunnel/policy"
	"tunnel/server/peers"
	"tunnel/transport"
	"tunnel/transport/fq"
)

// forward takes packets from the device to the queues of the peers that have their destinations. It
// never waits for a peer. It returns when the device fails or is closed; after a panic it
// continues.
func (s *Server) forward() error {
	for {
		err := s.read()
		if !s.defects.Note(err, s.Log) {
			return err
		}
		time.Sleep(restartPause)
	}
}

// restartPause is how long a loop pauses after a panic, so that repeated panics do not keep a
// processor busy.
const restartPause = 100 * time.Millisecond

// read reads the device until it fails. A panic is returned as an error.
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

// route sends the records of b from index from on to their peers. After a panic it returns the
// error and the index after the record that caused it, which is lost.
func (s *Server) route(b *packet.Batch, from int, to *outbox) (next int, err error) {
	defer defect.Catch(&err)
	for next = from; next < b.Len(); {
		i := next
		next++
		to.current = nil
		v := s.policy.FromKernel(b.IP(i))
		if v == policy.Pass {
			v = s.send(b, i, to, nil)
		}
		if v != policy.Pass {
			s.drops.Count(v, 1)
		}
	}
	return next, nil
}

// outbox collects the queues that a batch went to, so that each is flushed once per batch.
type outbox struct {
	queues  []*fq.Subflows
	current *peers.Peer // to whom the record goes that is being sent
}

func (o *outbox) add(q *fq.Subflows) {
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

// fail ends the peer whose queue may be inconsistent after a panic.
func (o *outbox) fail() {
	if o.current != nil {
		o.current.End(&transport.CloseError{Code: transport.CodeInternal, Reason: errDefect})
		o.current = nil
	}
}

// send queues record i of b for the peer that has its destination address, or holds it for the
// peer's return. sender is nil for the kernel.
func (s *Server) send(b *packet.Batch, i int, out *outbox, sender *peers.Peer) policy.Verdict {
	switch to, ok := s.peers.Lookup(packet.Destination(b.IP(i))); {
	case ok && to.Peer != nil:
		out.current = to.Peer
		to.Peer.Queue.Push(b.Take(i))
		out.add(to.Peer.Queue)
	case !ok || !to.Held.Add(b, i):
		answer, behind := s.answers.To(b.IP(i), to, sender == nil)
		if answer != nil {
			sender.Queue.Push(answer)
			out.add(sender.Queue)
		}
		if behind {
			return policy.Away
		}
		return s.policy.Unreachable(packet.Destination(b.IP(i)))
	}
	return policy.Pass
}

// receiver returns the function that takes batches from p's connection f to the kernel, or to
// another peer's queue.
func (s *Server) receiver(p *peers.Peer, f *peers.Subflow) func(*packet.Batch) error {
	ended := f.Context().Done()
	var to outbox
	return func(b *packet.Batch) error {
		select {
		case <-ended: // the peer is being ended; another may have its address already
			return nil
		default:
		}
		b.Filter(func(i int) bool {
			v, toKernel := s.policy.FromMember(p.Member, b, i)
			if v == policy.Pass && !toKernel {
				v = s.send(b, i, &to, p)
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
