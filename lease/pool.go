// Package lease decides who has which pair of addresses, and remembers it across restarts.
package lease

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"tunnel/state"
)

// Pair is the two ends of a point-to-point link: `ip addr add dev tun0 local Local peer Peer`.
type Pair struct {
	Local, Peer netip.Addr
}

// Errors of a Pool.
var (
	ErrFull    = errors.New("no free address pair")
	ErrNetwork = errors.New("unusable network")
)

// PairOf returns the pair with number i of network, counted from 0: pair 0 is (.1, .2), pair 1 is (.3, .4) and so on.
// ok is false when it would reach the network's last address, which is its broadcast address, or beyond.
func PairOf(network netip.Prefix, i uint32) (p Pair, ok bool) {
	if i >= pairs(network) {
		return Pair{}, false
	}
	base := toUint(network.Addr()) + 2*i + 1
	return Pair{toAddr(base), toAddr(base + 1)}, true
}

// pairs returns how many pairs network has room for: all addresses less network and broadcast, by two.
func pairs(network netip.Prefix) uint32 {
	host := 32 - network.Bits()
	if host < 2 {
		return 0
	}
	return uint32((uint64(1)<<host - 2) / 2)
}

// CheckNetwork tells whether network can be the private network: IPv4, no host bits, room for the server's pair and
// one client's.
func CheckNetwork(network netip.Prefix) error {
	switch {
	case !network.Addr().Is4():
		return fmt.Errorf("%w: %s is not an IPv4 prefix", ErrNetwork, network)
	case network != network.Masked():
		return fmt.Errorf("%w: %s has host bits set, its prefix is %s", ErrNetwork, network, network.Masked())
	case network.Bits() < 8:
		return fmt.Errorf("%w: %s is larger than a /8", ErrNetwork, network)
	case pairs(network) < 2:
		return fmt.Errorf("%w: %s holds fewer than two pairs, the server's and a client's: use a /29 or larger", ErrNetwork, network)
	}
	return nil
}

// Holder is who holds a lease. A client gets its pair back when it shows the same token and the same session; with
// another token it is another holder.
type Holder struct {
	Token   string // the id of its token, "" when none was asked for
	Machine string // its session; "" when the token is one client by itself
}

// key returns the name under which the file has h. The file must not hold what opens a session.
func (h Holder) key() string {
	sum := sha256.Sum256([]byte(h.Token + "\x00" + h.Machine))
	return hex.EncodeToString(sum[:])
}

// Pool hands out the pairs of one network; the server has the first, clients get the others. A holder keeps its pair
// when it goes away, until nothing else is free; then the pair idle longest goes to the newcomer. A reserved pair goes to
// the one token that it is reserved for. All methods may be called concurrently.
type Pool struct {
	network netip.Prefix

	mu       sync.Mutex
	store    store
	holders  map[string]*holding // by holder's key
	taken    map[uint32]*holding // by pair number
	reserved map[uint32]string   // by pair number: the id of the token
	fixed    map[string]uint32   // the same by token
}

// A holding is one pair in somebody's name.
type holding struct {
	holder string // its key
	token  string
	number uint32
	live   bool
	idle   time.Time // since when, if not live
	stored bool      // the file has it
}

// Open returns the Pool of network, with the leases that the bucket remembers. Close it before the bucket's file.
func Open(bucket state.Bucket, network netip.Prefix) (*Pool, error) {
	if err := CheckNetwork(network); err != nil {
		return nil, err
	}
	p := &Pool{network: network, store: store{bucket: bucket}, holders: map[string]*holding{}, taken: map[uint32]*holding{}}
	now := time.Now()
	err := p.store.each(func(holder string, l record) {
		n, ok := p.number(l.Address)
		if !ok || p.taken[n] != nil {
			return // of another network, before --network was changed
		}
		// A clock that was wrong when the lease was written must not make it the last to give way for ever.
		h := &holding{holder: holder, token: l.Token, number: n, idle: earlier(l.Idle, now), stored: true}
		p.holders[holder], p.taken[n] = h, h
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Close writes since when each lease is idle.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[string]record, len(p.holders))
	for holder, h := range p.holders {
		all[holder] = p.record(h)
	}
	return p.store.put(all)
}

// Network returns the pool's network.
func (p *Pool) Network() netip.Prefix { return p.network }

// Server returns the first pair, the server's own.
func (p *Pool) Server() Pair {
	pair, _ := PairOf(p.network, 0)
	return pair
}

// Fits tells whether a client of the network can have a: it is the first address of a client's pair.
func (p *Pool) Fits(a netip.Addr) error {
	if _, ok := p.number(a); !ok {
		return fmt.Errorf("%s is not an address for a client of %s: take every second one, from %s on", a, p.network, p.first())
	}
	return nil
}

// Live tells whether a client is connected with a.
func (p *Pool) Live(a netip.Addr) bool {
	n, ok := p.number(a)
	p.mu.Lock()
	defer p.mu.Unlock()
	return ok && p.taken[n] != nil && p.taken[n].live
}

// first returns the first address that a client can have.
func (p *Pool) first() netip.Addr {
	pair, _ := PairOf(p.network, 1)
	return pair.Local
}

// Reserve keeps these addresses for the tokens with these ids, instead of those of the last call. An idle lease of
// another's ends; a live one goes on until its client leaves. Addresses that no client can have are left out.
func (p *Pool) Reserve(tokens map[netip.Addr]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reserved, p.fixed = make(map[uint32]string, len(tokens)), make(map[string]uint32, len(tokens))
	for a, id := range tokens {
		n, ok := p.number(a)
		if !ok {
			continue
		}
		p.reserved[n], p.fixed[id] = id, n
		if h := p.taken[n]; h != nil && h.token != id && !h.live {
			p.forget(h)
		}
	}
}

// End ends the leases of the tokens whose id over says yes to, which must not call the Pool. A live one ends when it is
// released.
func (p *Pool) End(over func(token string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.holders {
		switch {
		case !over(h.token):
		case h.live:
			h.token = gone
		default:
			p.forget(h)
		}
	}
}

// gone is in the place of a token's id that is not any more: its lease ends when it is released. No id has a blank.
const gone = " gone"

// Acquire gives who its pair, and makes it live. A holder whose token has an address reserved gets that. Another that has a
// pair gets it back. Another gets the pair whose local address is want, if that is free, else the first pair that nobody
// has had, else the one idle longest. The error is ErrFull when all are live or reserved, or why the lease could not be
// written; who had a lease in the file needs no write.
func (p *Pool) Acquire(who Holder, want netip.Addr) (Pair, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	holder := who.key()
	h := p.holders[holder]
	if n, ok := p.fixed[who.Token]; ok {
		if h == nil || h.number != n {
			if other := p.taken[n]; other != nil && other.live {
				return Pair{}, ErrFull // from before it was reserved
			}
			p.forget(h)
			h = p.assign(who, n)
		}
	} else if n, ok := p.number(want); ok && (h == nil || h.number != n) && p.free(n) {
		p.forget(h)
		h = p.assign(who, n)
	} else if h != nil && p.reserved[h.number] != "" {
		p.forget(h)
		h = nil
	}
	if h == nil {
		n, ok := p.next()
		if !ok {
			return Pair{}, ErrFull
		}
		h = p.assign(who, n)
	}
	// A lease that is in the file as it is costs no write: a thousand clients may come back at once.
	if !h.stored {
		if err := p.store.put(map[string]record{holder: p.record(h)}); err != nil {
			p.forget(h)
			return Pair{}, err
		}
		h.stored = true
	}
	h.live = true
	pair, _ := PairOf(p.network, h.number)
	return pair, nil
}

// record returns what the file keeps of h.
func (p *Pool) record(h *holding) record {
	pair, _ := PairOf(p.network, h.number)
	r := record{Address: pair.Local, Token: h.token, Idle: h.idle}
	if h.live || h.idle.IsZero() {
		r.Idle = time.Now()
	}
	return r
}

// Release says that who is gone for now. It keeps its pair while there are others to give.
func (p *Pool) Release(who Holder) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.holders[who.key()]
	if h == nil {
		return
	}
	h.live = false
	h.idle = time.Now()
	if h.token == gone {
		p.forget(h)
	}
}

// number returns the number of the client pair whose local address is a.
func (p *Pool) number(a netip.Addr) (uint32, bool) {
	if !a.Is4() || !p.network.Contains(a) {
		return 0, false
	}
	offset := toUint(a) - toUint(p.network.Addr())
	n := offset / 2
	return n, offset%2 == 1 && n > 0 && n < pairs(p.network)
}

// free tells whether pair n may be given to somebody new who asked for it: nobody uses it now, and it is nobody's for good.
func (p *Pool) free(n uint32) bool {
	h := p.taken[n]
	return p.reserved[n] == "" && (h == nil || !h.live)
}

// next picks the pair for somebody new.
func (p *Pool) next() (uint32, bool) {
	count := pairs(p.network)
	if uint64(len(p.taken)) < uint64(count)-1 {
		for n := uint32(1); n < count; n++ {
			if p.taken[n] == nil && p.reserved[n] == "" {
				return n, true
			}
		}
	}
	var oldest *holding
	for _, h := range p.taken {
		if !h.live && p.reserved[h.number] == "" && (oldest == nil || h.idle.Before(oldest.idle)) {
			oldest = h
		}
	}
	if oldest == nil {
		return 0, false
	}
	return oldest.number, true
}

// assign puts pair n in who's name, whoever had it.
func (p *Pool) assign(who Holder, n uint32) *holding {
	p.forget(p.taken[n])
	h := &holding{holder: who.key(), token: who.Token, number: n}
	p.holders[h.holder], p.taken[n] = h, h
	return h
}

// forget ends a holding; nil is none.
func (p *Pool) forget(h *holding) {
	if h == nil {
		return
	}
	delete(p.holders, h.holder)
	delete(p.taken, h.number)
	p.store.drop(h.holder)
}

func toUint(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func toAddr(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}
