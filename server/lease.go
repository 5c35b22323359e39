package server

import (
	"context"
	"net/netip"
	"time"

	"tunnel/lease"
)

const (
	severTime     = 5 * time.Second  // bounds ending the connections of a former owner
	severLogPause = 10 * time.Minute // the time between two log lines about its failure
)

// lease gets a client its pair, writes it to the file, and ends the connections of its former
// owner. It is called without any lock but that of the client's holder.
func (s *Server) lease(ctx context.Context, who lease.Holder, want netip.Addr,
	most int) (*lease.Lease, error) {
	ask := lease.Ask{Who: who, Want: want, Most: most, Rest: lease.Rest, Busy: s.peers.Busy}
	for {
		l, err := s.Leases.Acquire(ask)
		if err != nil {
			return nil, err
		}
		if l.Inherited && !s.sever(ctx, l.Local) && ask.Rest < lease.LongRest {
			// Connections of the old owner may go on for as long as the kernel repeats their
			// segments.
			s.Leases.Undo(l)
			ask.Rest = lease.LongRest
			continue
		}
		if err := s.Leases.Keep(l); err != nil {
			s.Leases.Undo(l)
			return nil, err
		}
		return l, nil
	}
}

// sever ends the connections of this machine's kernel with an address whose owner changes, and
// reports whether they have ended. When it returns, packets that they sent before were read and
// dropped, because the address has no owner.
func (s *Server) sever(ctx context.Context, a netip.Addr) bool {
	ctx, cancel := context.WithTimeout(ctx, severTime)
	defer cancel()
	if err := s.Sever(ctx, netip.PrefixFrom(a, a.BitLen())); err != nil {
		s.severed.Do(func() {
			s.Log.Warn("an address changes hands, and connections with its old owner cannot be "+
				"ended: addresses rest for longer before they change hands", "address", a,
				"rest", lease.LongRest, "err", err)
		})
		return false
	}
	time.Sleep(s.limits.settle)
	return true
}
