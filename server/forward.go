package server

import (
	"time"

	"tunnel/defect"
	"tunnel/packet"
	"tunnel/policy"
	"tunnel/server/peers"
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
	var to peers.Outbox
	return s.Device.ReadBatches(func(b *packet.Batch) {
		for next := 0; next < b.Len(); {
			var failed error
			if next, failed = s.route(b, next, &to); s.defects.Note(failed, s.Log) {
				s.drops.Count(policy.Defect, 1)
				to.Fail(errDefect)
			}
		}
		to.Flush()
	})
}

// route sends the records of b from index from on to their peers. After a panic it returns the
// error and the index after the record that caused it, which is lost.
func (s *Server) route(b *packet.Batch, from int, to *peers.Outbox) (next int, err error) {
	defer defect.Catch(&err)
	judge := &s.live.Load().policy
	for next = from; next < b.Len(); {
		i := next
		next++
		to.Next()
		v := judge.FromKernel(b.IP(i))
		if v == policy.Pass {
			v = s.send(b, i, to, nil)
		}
		if v != policy.Pass {
			s.drops.Count(v, 1)
		}
	}
	return next, nil
}

// send queues record i of b for the peer that has its destination address, or holds it for the
// peer's return. sender is nil for the kernel.
func (s *Server) send(b *packet.Batch, i int, out *peers.Outbox,
	sender *peers.Peer) policy.Verdict {
	switch to, ok := s.peers.Lookup(packet.Destination(b.IP(i))); {
	case ok && to.Peer != nil:
		out.Push(to.Peer, b, i)
	case !ok || !to.Held.Add(b, i):
		answer, behind := s.answers.To(b.IP(i), to, sender == nil)
		if answer != nil {
			out.Answer(sender, answer)
		}
		if behind {
			return policy.Away
		}
		return s.live.Load().policy.Unreachable(packet.Destination(b.IP(i)))
	}
	return policy.Pass
}

// receiver returns the function that takes batches from p's connection f to the kernel, or to
// another peer's queue.
func (s *Server) receiver(p *peers.Peer, f *peers.Subflow) func(*packet.Batch) error {
	ended := f.Context().Done()
	var to peers.Outbox
	return func(b *packet.Batch) error {
		select {
		case <-ended: // the peer is being ended; another may have its address already
			return nil
		default:
		}
		judge := &s.live.Load().policy
		b.Filter(func(i int) bool {
			v, toKernel := judge.FromMember(p.Member, b, i)
			if v == policy.Pass && !toKernel {
				v = s.send(b, i, &to, p)
			}
			if v != policy.Pass {
				s.drops.Count(v, 1)
			}
			return toKernel
		})
		to.Flush()
		refused, err := s.Device.WriteBatch(b)
		if refused > 0 {
			s.drops.Count(policy.Kernel, uint64(refused))
		}
		return err
	}
}
