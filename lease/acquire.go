package lease

import (
	"fmt"
	"net/netip"
	"time"
)

// Ask is a request for a pair.
type Ask struct {
	Who  Holder
	Want netip.Addr // the requested address; the zero Addr requests none
	// the most pairs that its token may have had recently, live ones included; 0 is no limit
	Most int
	Rest time.Duration // how long a pair must have been idle before it changes hands; at least Rest

	// Busy returns how much longer no packet may arrive for an idle address before it counts as
	// unused; nil if all addresses do. It must not call the Pool.
	Busy func(netip.Addr) time.Duration
}

// A Lease is a pair in use. The caller of Acquire calls Keep and, at the end, Release; or Undo
// instead of both.
type Lease struct {
	Pair

	// Inherited reports that another holder had the pair: connections of that holder must be ended
	// before this one gets packets.
	Inherited bool

	h      *holding
	before *holding // the pair's previous holder, nil if there is none
	moved  *holding // the holder's previous pair, nil if none or the same
	keys   []string // of the records that change
	kept   bool     // Keep has begun to write them
}

// Acquire gives ask.Who a pair. It is not in the file until Keep.
//
// A holder whose token has a reserved address gets that address. Any other holder gets the pair
// that it has, or the requested one if that was never used or was idle for the Pool's Hold. A
// holder without a pair gets, in this order: a pair that was never used; one whose holder no longer
// exists; an idle one of the same token; an idle one of another token. Among several it gets the
// one that was idle longest. A token with two or more pairs gets another token's pair only after
// that was idle for an hour. A token that has had ask.Most pairs gets only idle ones of its own. A
// pair never changes hands before it was idle for ask.Rest, nor, before it was idle for LongRest,
// while packets still arrive for it.
//
// The error is ErrFull, with the time after which another attempt may succeed. The next call for a
// holder must not begin before the Keep or Undo of the last.
func (p *Pool) Acquire(ask Ask) (*Lease, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := ask.Who.key()
	mine := p.holders[key]
	n, err := p.choose(ask, mine)
	if err != nil {
		return nil, err
	}
	if mine == nil || mine.number != n {
		return p.assign(ask.Who, n, mine), nil
	}
	mine.users++
	return &Lease{Pair: p.pair(n), h: mine}, nil
}

// choose returns the number of the pair for ask.Who; mine is what it has, or nil. The caller holds
// the lock, as for the functions below.
func (p *Pool) choose(ask Ask, mine *holding) (uint32, error) {
	if n, ok := p.fixed[ask.Who.Token]; ok {
		if mine != nil && mine.number == n {
			return n, nil
		}
		if wait, ok := p.wait(ask, n, ask.Rest); !ok {
			return 0, fmt.Errorf("%w: another client still has %s", ErrFull, p.pair(n).Local)
		} else if wait > 0 {
			return 0,
				fmt.Errorf("%w: %s was another client's: it changes hands in %s at the earliest",
					ErrFull, p.pair(n).Local, rounded(wait))
		}
		return n, nil
	}
	if mine != nil && p.reserved[mine.number] != "" {
		mine = nil
	}
	if n, ok := p.number(ask.Want); ok && p.reserved[n] == "" && (mine == nil || mine.number != n) {
		wait, ok := p.wait(ask, n, max(p.hold, ask.Rest))
		if ok && wait <= 0 && (ask.Most == 0 || p.count(ask.Who.Token, ask.Rest) < ask.Most) {
			return n, nil
		}
	}
	if mine != nil {
		return mine.number, nil
	}
	return p.next(ask)
}

// next returns the number of the pair for a holder that has none.
func (p *Pool) next(ask Ask) (uint32, error) {
	has := p.count(ask.Who.Token, ask.Rest)
	full := ask.Most > 0 && has >= ask.Most
	if n, ok := p.unused(); ok && !full {
		return n, nil
	}
	var best *holding
	var soonest time.Duration
	for n, h := range p.taken {
		own := h.token == ask.Who.Token
		if p.reserved[n] != "" || full && (!own || h.vacant()) {
			continue
		}
		least := ask.Rest
		if !own && has > 1 && !h.vacant() {
			least = max(least, spare)
		}
		wait, ok := p.wait(ask, n, least)
		switch {
		case !ok:
		case wait > 0:
			if soonest == 0 || wait < soonest {
				soonest = wait
			}
		case best == nil || before(h, best, ask.Who.Token):
			best = h
		}
	}
	if best != nil {
		return best.number, nil
	}
	err := fmt.Errorf("%w in %s", ErrFull, p.network)
	if full {
		err = fmt.Errorf("%w for this token (it has had %d)", err, has)
	}
	if soonest > 0 {
		err = fmt.Errorf("%w: the next one in %s at the earliest", err, rounded(soonest))
	}
	return 0, err
}

// rounded returns d in whole seconds, at least one.
func rounded(d time.Duration) time.Duration { return max(d.Round(time.Second), time.Second) }

// before reports whether a changes hands before b if a holder of token needs a pair.
func before(a, b *holding, token string) bool {
	rank := func(h *holding) int {
		switch {
		case h.vacant():
			return 0
		case h.token == token:
			return 1
		}
		return 2
	}
	if x, y := rank(a), rank(b); x != y {
		return x < y
	}
	if !a.idle.Equal(b.idle) {
		return a.idle.Before(b.idle)
	}
	return a.number < b.number
}

// unused returns the first pair that was never used and is not reserved.
func (p *Pool) unused() (uint32, bool) {
	for p.taken[p.fresh] != nil {
		p.fresh++
	}
	for n := p.fresh; n < pairs(p.network); n++ {
		if p.taken[n] == nil && p.reserved[n] == "" {
			return n, true
		}
	}
	return 0, false
}

// wait returns how much longer pair n must be idle before it changes hands; ok is false if it is in
// use.
func (p *Pool) wait(ask Ask, n uint32, least time.Duration) (_ time.Duration, ok bool) {
	h := p.taken[n]
	if h == nil {
		return 0, true
	}
	if h.users > 0 {
		return 0, false
	}
	idle := p.now().Sub(h.idle)
	wait := least - idle
	if ask.Busy != nil && idle < LongRest {
		wait = max(wait, min(ask.Busy(p.pair(n).Local), LongRest-idle))
	}
	return max(0, wait), true
}

// count returns how many pairs a token has, or had less than rest ago.
func (p *Pool) count(token string, rest time.Duration) (n int) {
	for _, h := range p.taken {
		if h.token == token && (!h.vacant() || h.users > 0 || p.now().Sub(h.idle) < rest) {
			n++
		}
	}
	return n
}

// assign gives pair n, which is idle, to who; mine is what who had before, or nil.
func (p *Pool) assign(who Holder, n uint32, mine *holding) *Lease {
	l := &Lease{Pair: p.pair(n), before: p.taken[n], moved: mine}
	if mine != nil {
		l.keys = p.vacate(mine)
	}
	if l.before != nil {
		l.Inherited = true
		delete(p.holders, l.before.holder)
		l.keys = append(l.keys, l.before.holder)
	}
	l.h = &holding{holder: who.key(), token: who.Token, number: n, users: 1}
	p.holders[l.h.holder], p.taken[n] = l.h, l.h
	l.keys = append(l.keys, l.h.holder)
	return l
}

// Keep writes l to the file unless it is there: many clients may return at once, also while the
// disk is full.
func (p *Pool) Keep(l *Lease) error {
	p.mu.Lock()
	stored := l.h.stored
	if !stored {
		l.kept = true
		p.changed(l.keys...)
		p.changed(l.h.holder)
	}
	p.mu.Unlock()
	if stored {
		return nil
	}
	return p.commit()
}

// Undo undoes Acquire: the pair is its previous holder's again, with its idle time.
func (p *Pool) Undo(l *Lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(l.keys) == 0 { // the holder had it before
		p.release(l.h)
		return
	}
	delete(p.holders, l.h.holder)
	delete(p.taken, l.h.number)
	p.fresh = min(p.fresh, l.h.number)
	switch m := l.moved; {
	case m == nil:
	case p.taken[m.number] == m:
		p.rename(m, l.h.holder)
		m.stored = !l.kept
	default: // another holder has got that pair, so this one has none
		p.changed(l.h.holder)
	}
	if b := l.before; b != nil {
		p.taken[b.number] = b
		if p.holders[b.holder] == nil {
			p.holders[b.holder] = b
			b.stored = !l.kept
		} else { // its holder has returned and got another pair
			p.changed(p.vacate(b)...)
		}
	}
	if l.kept {
		p.changed(l.keys...)
	}
}

// Release ends the use of l by its client. The holder keeps the pair until it changes hands.
func (p *Pool) Release(l *Lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release(l.h)
}

func (p *Pool) release(h *holding) {
	if h.users--; h.users > 0 {
		return
	}
	h.idle = p.now()
	if h.token == gone {
		p.changed(p.vacate(h)...)
	}
}
