// Package lease assigns pairs of addresses to clients, and stores the assignments across restarts.
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
// (.3, .4) and so on. ok is false if the pair would include the network's broadcast address or lie
// beyond it.
func PairOf(network netip.Prefix, i uint32) (p Pair, ok bool) {
	if i >= pairs(network) {
		return Pair{}, false
	}
	base := toUint(network.Addr()) + 2*i + 1
	return Pair{toAddr(base), toAddr(base + 1)}, true
}

// pairs returns the number of pairs in network: half of its addresses without network and broadcast
// address.
func pairs(network netip.Prefix) uint32 {
	host := 32 - network.Bits()
	if host < 2 {
		return 0
	}
	return uint32((uint64(1)<<host - 2) / 2)
}

// CheckNetwork returns an error unless network can be the private network: IPv4, no host bits,
// unicast addresses, room for the server's pair and one client's.
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

// isUnicast reports whether a network of /8 or smaller that contains a has unicast addresses.
func isUnicast(a netip.Addr) bool {
	first := a.As4()[0]
	return first != 0 && first != 127 && first < 224
}

// Holder identifies the holder of a lease. A client gets its pair back if it presents the same
// token and the same session; with another token it is another holder.
type Holder struct {
	Token   string // the id of its token, "" if the server requires none
	Machine string // its session; "" if the token belongs to one client, see auth.Token.Sole
}

// key returns h's key in the file, a hash: the file must not hold session secrets.
func (h Holder) key() string {
	sum := sha256.Sum256([]byte(h.Token + "\x00" + h.Machine))
	return hex.EncodeToString(sum[:])
}

// Pool assigns the pairs of one network: the first is the server's, the others are for clients. A
// holder keeps its pair while it is disconnected. A pair changes hands only after it was idle for a
// time that depends on the new holder, see Acquire; a reserved pair is only given to its token. All
// methods may be called concurrently; no lock is held while the file is written.
type Pool struct {
	network netip.Prefix
	hold    time.Duration
	now     func() time.Time

	mu       sync.Mutex
	store    store
	holders  map[string]*holding // by holder's key
	taken    map[uint32]*holding // by pair number; all that were ever used
	fresh    uint32              // all pairs below were used
	reserved map[uint32]string   // by pair number: the id of the token
	fixed    map[string]uint32   // the same by token
	closed   bool
}

// Options of a Pool; the zero value of a field stands for its default.
type Options struct {
	// how long a pair must be idle before another holder can request its address; DefaultHold
	Hold time.Duration
	Now  func() time.Time // the clock; time.Now
}

// DefaultHold is how long an idle address cannot be requested by another holder.
const DefaultHold = 24 * time.Hour

// Times for which a pair must be idle before it changes hands, even if another client waits.
const (
	// Rest is longer than packets are held for the old holder's return, and than the pauses of
	// senders: at most 2 min for TCP (TCP_RTO_MAX in include/net/tcp.h).
	Rest = 3 * time.Minute
	// LongRest is how long a kernel retransmits a TCP segment that is not acknowledged: 924.6 s with
	// tcp_retries2 of 15 (Documentation/networking/ip-sysctl.rst), and a margin.
	LongRest = 16 * time.Minute
)

// spare is how long a pair must be idle before it goes to a token that has several already.
const spare = time.Hour

// A holding is a pair that is or was used.
type holding struct {
	holder string // its key; begins with vacant if no holder has the pair any more
	token  string
	number uint32
	users  int       // leases that were acquired and not released
	idle   time.Time // when the last user left
	stored bool      // the file has it
}

// vacant is the prefix of the key of a pair that was used and has no holder now. No holder's key
// has a blank.
const vacant = "vacant "

// vacant reports whether h has no holder.
func (h *holding) vacant() bool { return h.holder[:min(len(h.holder), len(vacant))] == vacant }

// Open returns the Pool of network, with the leases in the bucket. Close it before the Store.
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
			return // of another network: the server's has been changed
		}
		// A time in the future, from a wrong clock, must not protect the lease for ever.
		h := &holding{holder: holder, token: l.Token, number: n, idle: earlier(l.Idle, now),
			stored: true}
		p.holders[holder], p.taken[n] = h, h
	})
	if err != nil {
		return nil, err
	}
	if closed {
		// Before any client connects. If it fails, it is repeated with the next write.
		p.changed(closedKey)
		_ = p.commit()
	} else {
		p.assumeLive(now)
	}
	return p, nil
}

// assumeLive sets all leases idle from now on, in the order of their idle times and numbers: any of
// them may have been in use until the crash.
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

// Close writes the idle times of all leases. Acquire must not be called after it.
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

// Clients returns how many clients the pool has pairs for.
func (p *Pool) Clients() int { return int(pairs(p.network)) - 1 }

// Server returns the first pair, the server's own.
func (p *Pool) Server() Pair { return p.pair(0) }

// pair returns the pair with a number that is in range.
func (p *Pool) pair(n uint32) Pair {
	pair, _ := PairOf(p.network, n)
	return pair
}

// Fits returns an error unless a is the first address of a client's pair.
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

// Taken returns how many pairs no other client gets now: those in use, and those that rest.
func (p *Pool) Taken() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.taken {
		if h.users > 0 || p.now().Sub(h.idle) < Rest {
			n++
		}
	}
	return n
}

// Recent returns the addresses that have been idle for less than d.
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

// Reserve reserves addresses for the tokens with these ids; it replaces the reservations of the
// last call. Idle leases of other tokens on these addresses end; live ones last until their clients
// leave. Addresses that no client can have are ignored.
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

// End ends the leases of the tokens for whose ids over, which must not call the Pool, returns true,
// and returns their addresses. A live lease ends when it is released.
func (p *Pool) End(over func(token string) bool) (ended []netip.Prefix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.taken {
		if h.token == gone || !over(h.token) {
			continue
		}
		h.token = gone
		local := p.pair(h.number).Local
		ended = append(ended, netip.PrefixFrom(local, local.BitLen()))
		if h.users == 0 {
			p.changed(p.vacate(h)...)
		}
	}
	return ended
}

// gone replaces the id of a token that no longer exists: its lease ends when it is released. No id
// has a blank.
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

// vacate removes the holder of h, which stays in the pool with its idle time. It returns the keys
// of the records that this changes.
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
