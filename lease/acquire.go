package lease

import (
	"fmt"
	"net/netip"
	"time"
)

// Ask is what somebody wants of a Pool.
type Ask struct {
	Who  Holder
	Want netip.Addr // the address that it would like to have; the zero Addr is none
	// pairs that its token may have had of late, live ones included; 0 is no limit
	Most int
	Rest time.Duration // how long a pair must have been idle before it changes hands; at least Rest

	// Busy returns for how much longer nobody may send to an idle address before it counts as left
	// alone; nil if all are. It must not call the Pool.
	Busy func(netip.Addr) time.Duration
}

// A Lease is a pair in use. The caller of Acquire calls Keep and, at the end, Release; or Undo in
// place of both.
type Lease struct {
	Pair

	// Inherited reports that another holder had the pair: whatever is left of that one must end
	// before this one gets packets.
	Inherited bool

	h      *holding
	before *holding // who had the pair; nil if nobody
	moved  *holding // what this holder had before; nil is nothing, or the same
	keys   []string // of the records that change
	kept   bool     // Keep has begun to write them
}

// Acquire gives ask.Who a pair. It is not in the file until Keep.
//
// A holder whose token has an address reserved gets that. Another gets the pair that it has, or the
// one that it wants if that was never anybody's, or was idle for the Pool's Hold. One without a
// pair gets, in this order, a pair that nobody ever had, one whose holder is no more, one of the
// same token's that is idle, one of another's; the one idle longest where there are several. A
// token that has two or more gets another token's only if that was idle for an hour. One that has
// had as many as ask.Most gets only what another of its own token has left. In no case does a pair
// change hands that was not idle for ask.Rest, or, until it was idle for LongRest, one to which
// somebody still sends.
//
// The error is ErrFull, with when it may be worth another attempt. Of several calls with one holder
// the next must not begin before the Keep or Undo of the last.
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

// choose picks the pair for ask.Who, who has mine, or nil. The caller holds the lock, as for all
// that follows.
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

// next picks the pair for somebody who has none.
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

// rounded returns d as people read it.
func rounded(d time.Duration) time.Duration { return max(d.Round(time.Second), time.Second) }

// before reports whether a is to change hands before b when one of the token wants a pair.
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

// unused returns the first pair that nobody ever had, if there is one that is not reserved.
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

// wait returns for how much longer pair n has to be idle before it changes hands; ok is false if it
// is in use.
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

// count returns how many pairs a token has, with those that it had until less than rest ago.
func (p *Pool) count(token string, rest time.Duration) (n int) {
	for _, h := range p.taken {
		if h.token == token && (!h.vacant() || h.users > 0 || p.now().Sub(h.idle) < rest) {
			n++
		}
	}
	return n
}

// assign puts pair n, which is idle, in the name of who, who had mine, or nil.
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

// Keep writes l into the file, unless it is there: a thousand clients may come back at once, and to
// a disk that is full.
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

// Undo takes back what Acquire has done: the pair is whose it was before, with the time for which
// that one was idle.
func (p *Pool) Undo(l *Lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(l.keys) == 0 { // it was the holder's before
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
	default: // another got that pair meanwhile, so that the holder has none
		p.changed(l.h.holder)
	}
	if b := l.before; b != nil {
		p.taken[b.number] = b
		if p.holders[b.holder] == nil {
			p.holders[b.holder] = b
			b.stored = !l.kept
		} else { // its holder came back meanwhile, and has another pair
			p.changed(p.vacate(b)...)
		}
	}
	if l.kept {
		p.changed(l.keys...)
	}
}

// Release says that l's client is gone for now. It keeps its pair until that changes hands.
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
