package server

import (
	"slices"
	"time"

	"tunnel/defect"
	"tunnel/packet"
	"tunnel/transport"
	"tunnel/transport/fq"
)

// forward is the way out: what the kernel sends into the device goes to the queue of the peer that has the destination.
// It never waits for a peer. It returns when the device ends; after a panic it reads on.
func (s *Server) forward() error {
	for {
		err := s.read()
		if !s.defects.Note(err, s.Log) {
			return err
		}
		time.Sleep(readerPause)
	}
}

// readerPause is how long the device is not read after a panic in reading it: one that comes again must not take a core.
const readerPause = 100 * time.Millisecond

// read reads the device until that ends. A panic is the error.
func (s *Server) read() (err error) {
	defer defect.Catch(&err)
	var to outbox
	return s.Device.ReadBatches(func(b *packet.Batch) {
		for next := 0; next < b.Len(); {
			var failed error
			if next, failed = s.route(b, next, &to); s.defects.Note(failed, s.Log) {
				s.drops.count(dropDefect, 1)
				to.fail()
			}
		}
		to.flush()
	})
}

// route sends the records of b, beginning with the one with index from, to their peers. After a panic it returns the index of the
// record behind the one that met it, which is lost, and the error.
func (s *Server) route(b *packet.Batch, from int, to *outbox) (next int, err error) {
	defer defect.Catch(&err)
	for next = from; next < b.Len(); {
		i := next
		next++
		to.current = nil
		v := s.policy.fromKernel(b.IP(i))
		if v == pass {
			v = s.send(b, i, to)
		}
		if v != pass {
			s.drops.count(v, 1)
		}
	}
	return next, nil
}

// outbox is the queues that a batch has gone to: they are flushed once, when all of it is there.
type outbox struct {
	queues  []*fq.Subflows
	current *peer // to whom the record goes that is being sent
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

// fail ends the peer whose queue a panic has left half changed.
func (o *outbox) fail() {
	if o.current != nil {
		o.current.cancel(&transport.CloseError{Code: transport.CodeInternal, Reason: errDefect})
		o.current = nil
	}
}

// send takes record i out of b and queues it for the peer that gets what is for its destination address, or for its return.
func (s *Server) send(b *packet.Batch, i int, out *outbox) verdict {
	address := packet.Destination(b.IP(i))
	switch to, ok := s.peers.at(address); {
	case ok && to.peer != nil:
		out.current = to.peer
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
