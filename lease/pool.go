// Package lease decides who has which pair of addresses, and remembers it across restarts.
package lease

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
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

// PairOf returns the pair with number i of network, counted from 0: pair 0 is (.1, .2), pair 1 is
// (.3, .4) and so on. ok is false when it would reach the network's last address, which is its
// broadcast address, or beyond.
func PairOf(network netip.Prefix, i uint32) (p Pair, ok bool) {
	if i >= pairs(network) {
		return Pair{}, false
	}
	base := toUint(network.Addr()) + 2*i + 1
	return Pair{toAddr(base), toAddr(base + 1)}, true
}

// pairs returns how many pairs network has room for: all addresses less network and broadcast, by
// two.
func pairs(network netip.Prefix) uint32 {
	host := 32 - network.Bits()
	if host < 2 {
		return 0
	}
	return uint32((uint64(1)<<host - 2) / 2)
}

// CheckNetwork returns an error unless network can be the private network: IPv4, no host bits,
// addresses of hosts, room for the server's pair and one client's.
func CheckNetwork(network netip.Prefix) error {
	switch {
	case !network.Addr().Is4():
		return fmt.Errorf("%w: %s is not an IPv4 prefix", ErrNetwork, network)
	case network != network.Masked():
		return fmt.Errorf("%w: %s has host bits set, its prefix is %s", ErrNetwork, network,
			network.Masked())
	case network.Bits() < 8:
		return fmt.Errorf("%w: %s is larger than a /8", ErrNetwork, network)
	case !isUnicast(network.Addr()):
		return fmt.Errorf("%w: %s is for no hosts (unspecified, loopback, multicast or reserved)",
			ErrNetwork, network)
	case pairs(network) < 2:
		return fmt.Errorf("%w: %s holds fewer than two pairs, the server's and a client's: use a "+
			"/29 or larger", ErrNetwork, network)
	}
	return nil
}

// isUnicast reports whether hosts have the addresses of a network of /8 or smaller that has a in
// it.
func isUnicast(a netip.Addr) bool {
	first := a.As4()[0]
	return first != 0 && first != 127 && first < 224
}

// Holder is who holds a lease. A client gets its pair back when it shows the same token and the
// same session; with another token it is another holder.
type Holder struct {
	Token   string // the id of its token, "" when none was asked for
	Machine string // its session; "" when the token is one client by itself
}

// key returns the name under which the file has h. The file must not hold what opens a session.
func (h Holder) key() string {
	sum := sha256.Sum256([]byte(h.Token + "\x00" + h.Machine))
	return hex.EncodeToString(sum[:])
}

// Pool hands out the pairs of one network; the server has the first, clients get the others. A
// holder keeps its pair when it goes away. A pair changes hands only after it has been idle for a
// time that depends on who wants it and why, see Acquire, and a reserved pair goes to the one token
// that it is reserved for. All methods may be called concurrently; no lock is held while the file
// is written.
type Pool struct {
	network netip.Prefix
	hold    time.Duration
	now     func() time.Time

	mu       sync.Mutex
	store    store
	holders  map[string]*holding // by holder's key
	taken    map[uint32]*holding // by pair number; all that anybody ever had
	fresh    uint32              // no pair below is one that nobody ever had
	reserved map[uint32]string   // by pair number: the id of the token
	fixed    map[string]uint32   // the same by token
	closed   bool
}

// Options of a Pool; the zero value of a field stands for its default.
type Options struct {
	// how long a pair must have been idle that another holder may ask for by its address;
	// DefaultHold
	Hold time.Duration
	Now  func() time.Time // what time it is; time.Now
}

// DefaultHold is how long nobody can ask for an address that another has left.
const DefaultHold = 24 * time.Hour

// Times for which a pair rests before it changes hands, whether or not somebody waits.
const (
	// Rest is longer than anything waits for the old holder's return, and than the pauses of those
	// that still send to it: 2 min at most for TCP (TCP_RTO_MAX in include/net/tcp.h).
	Rest = 3 * time.Minute
	// LongRest is how long a kernel goes on to repeat a TCP segment that nobody acknowledges: 924.6
	// s with tcp_retries2 of 15 (Documentation/networking/ip-sysctl.rst), and a margin.
	LongRest = 16 * time.Minute
)

// spare is how long a pair must have been idle that goes to a token which has several already.
const spare = time.Hour

// A holding is one pair in somebody's name.
type holding struct {
	holder string // its key; that of a pair which nobody has any more begins with vacant
	token  string
	number uint32
	users  int       // leases that were acquired and not released
	idle   time.Time // since when, without users
	stored bool      // the file has it
}

// vacant begins the key of a pair that somebody had and that is nobody's now. No holder's key has a
// blank.
const vacant = "vacant "

// vacant reports whether h is nobody's.
func (h *holding) vacant() bool { return h.holder[:min(len(h.holder), len(vacant))] == vacant }

// Open returns the Pool of network, with the leases that the bucket remembers. Close it before the
// Store.
func Open(bucket Store, network netip.Prefix, options Options) (*Pool, error) {
	if err := CheckNetwork(network); err != nil {
		return nil, err
	}
	p := &Pool{
		network: network, hold: options.Hold, now: options.Now, store: store{bucket: bucket},
		holders: map[string]*holding{}, taken: map[uint32]*holding{}, fresh: 1,
	}
	if p.hold == 0 {
		p.hold = DefaultHold
	}
	if p.now == nil {
		p.now = time.Now
	}
	now := p.now()
	closed, err := p.store.read(func(holder string, l record) {
		n, ok := p.number(l.Address)
		if !ok || p.taken[n] != nil {
			return // of another network, before --network was changed
		}
		// A clock that was wrong when the lease was written must not make it the last to give way
		// for ever.
		h := &holding{holder: holder, token: l.Token, number: n, idle: earlier(l.Idle, now),
			stored: true}
		p.holders[holder], p.taken[n] = h, h
	})
	if err != nil {
		return nil, err
	}
	if closed {
		// Before anybody comes. On a full disk, where it fails, it is repeated with the next write.
		p.changed(closedKey)
		_ = p.commit()
	} else {
		p.assumeLive(now)
	}
	return p, nil
}

// assumeLive makes all leases idle since now, in the order in which they were idle before, the
// lower number first: any of them may have been in use until the crash.
func (p *Pool) assumeLive(now time.Time) {
	var all []*holding
	for _, h := range p.taken {
		all = append(all, h)
	}
	slices.SortFunc(all,
		func(a, b *holding) int {
			return cmp.Or(a.idle.Compare(b.idle),
				cmp.Compare(a.number, b.number))
		})
	for i, h := range all {
		h.idle = now.Add(time.Duration(i - len(all)))
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Close writes since when each lease is idle. Nothing may be acquired after.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	p.changed(closedKey)
	for holder := range p.holders {
		p.changed(holder)
	}
	p.mu.Unlock()
	return p.commit()
}

// Network returns the pool's network.
func (p *Pool) Network() netip.Prefix { return p.network }

// Server returns the first pair, the server's own.
func (p *Pool) Server() Pair { return p.pair(0) }

// pair returns the pair with a number that is in range.
func (p *Pool) pair(n uint32) Pair {
	pair, _ := PairOf(p.network, n)
	return pair
}

// Fits returns an error unless a client of the network can have a: it is the first address of a
// client's pair.
func (p *Pool) Fits(a netip.Addr) error {
	if _, ok := p.number(a); !ok {
		return fmt.Errorf("%s is not an address for a client of %s: take every second one, from "+
			"%s on", a, p.network, p.pair(1).Local)
	}
	return nil
}

// Live reports whether a client is connected with a.
func (p *Pool) Live(a netip.Addr) bool {
	n, ok := p.number(a)
	p.mu.Lock()
	defer p.mu.Unlock()
	return ok && p.taken[n] != nil && p.taken[n].users > 0
}

// Recent returns the addresses that are idle, and have not been for as long as d.
func (p *Pool) Recent(d time.Duration) (all []netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := p.now().Add(-d)
	for n, h := range p.taken {
		if h.users == 0 && h.idle.After(since) {
			all = append(all, p.pair(n).Local)
		}
	}
	return all
}

// Reserve keeps these addresses for the tokens with these ids, instead of those of the last call.
// An idle lease of another's ends; a live one goes on until its client leaves. Addresses that no
// client can have are left out.
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
		if h := p.taken[n]; h != nil && h.token != id && h.users == 0 {
			p.changed(p.vacate(h)...)
		}
	}
}

// End ends the leases of the tokens whose id over says yes to, which must not call the Pool. A live
// one ends when it is released.
func (p *Pool) End(over func(token string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.taken {
		if h.token == gone || !over(h.token) {
			continue
		}
		h.token = gone
		if h.users == 0 {
			p.changed(p.vacate(h)...)
		}
	}
}

// gone is in the place of a token's id that is not any more: its lease ends when it is released. No
// id has a blank.
const gone = " gone"

// number returns the number of the client pair whose local address is a.
func (p *Pool) number(a netip.Addr) (uint32, bool) {
	if !a.Is4() || !p.network.Contains(a) {
		return 0, false
	}
	offset := toUint(a) - toUint(p.network.Addr())
	n := offset / 2
	return n, offset%2 == 1 && n > 0 && n < pairs(p.network)
}

// vacate makes h's pair nobody's; that somebody had it, and since when it is idle, is remembered.
// It returns the keys of the records that this changes.
func (p *Pool) vacate(h *holding) (keys []string) {
	if h.vacant() {
		return nil
	}
	was := h.holder
	p.rename(h, vacant+p.pair(h.number).Local.String())
	return []string{was, h.holder}
}

// rename gives h another key.
func (p *Pool) rename(h *holding, key string) {
	if p.holders[h.holder] == h {
		delete(p.holders, h.holder)
	}
	h.holder, h.stored = key, false
	p.holders[key] = h
}

func toUint(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func toAddr(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}
