package firewall

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"tunnel/nftcmd"
)

// Tracked limits how many connections of one sender from the tunnel the kernel tracks: they would
// fill its table, after which this machine accepts no connections, or take all ports of its address
// towards a service. Later connections are dropped until earlier ones end. A connection that is
// closed is not counted (net/netfilter/nf_conncount.c): the kernel replaces such entries when its
// table is full. New connections beyond MaxOpened a second are dropped before they are counted.
type Tracked struct {
	// Network is the tunnel's, IPv4. Each address in it is a sender.
	Network netip.Prefix `json:"network"`
	// Behind are networks behind clients, IPv4, not in Network. Each is one sender, because its client
	// chooses the addresses, with a limit by its size. All other addresses together are one sender,
	// too, with twice the limit of an address.
	Behind []netip.Prefix `json:"behind,omitempty"`
	// Limit is the number of connections of an address, at least 1; 0 is MaxTracked. Only the process
	// that sets the table decides that and MaxBehind: they are no part of a message.
	Limit int `json:"-"`
	// MaxBehind is the most connections of any network in Behind; 0 is the default of a kernel whose
	// limit is not known.
	MaxBehind int `json:"-"`
}

// MaxTracked is how many connections of one sender are tracked. A token may use twice as many
// addresses as it has sessions, 16 by default: they take three quarters of the ports that
// masquerading has towards one service.
const MaxTracked = 3072

// What a network behind a client gets: perHost connections for each of its addresses, but at least
// twice the limit of a client's address, and at most maxLimits times that.
const (
	perHost   = 64
	maxLimits = 8
)

// New connections of one sender: MaxOpened a second after the first openedBurst. A kernel without
// the fixes of Linux 6.19, which stable kernels have too, notes each connection that it counts,
// also one that is then dropped, and removes at most 8 of those that are over in a tick
// (CONNCOUNT_GC_MAX_NODES in net/netfilter/nf_conncount.c): that is 800 a second with the slowest
// clock, of 100 Hz, and the list grows by what exceeds it.
const (
	MaxOpened   = 500
	openedBurst = 4096
)

// minTracked is how many of them there are on small machines, whose kernels track 4,096 to 8,192
// connections with 512 MiB to 1 GiB, unless that were more than a quarter.
const minTracked = 1024

// limit returns how many connections of one sender are tracked where the kernel tracks so many; 0
// is no limit, or one that is not known.
func limit(most int) int {
	if most <= 0 {
		return MaxTracked
	}
	return max(1, min(MaxTracked, max(minTracked, most/32), most/4))
}

// maxBehind returns how many connections of a network behind a client are tracked at most where the
// kernel tracks so many, and an address has that limit; 0 is no limit of the kernel, or one that is
// not known.
func maxBehind(most, limit int) int {
	if most <= 0 {
		return maxLimits * limit
	}
	return max(2*limit, min(maxLimits*limit, most/4))
}

// Limited returns r with the limits for this machine's connection tracking. The kernel's module for
// that may not be there yet, and then the limit is found at the next look at the table.
func (r Rules) Limited() Rules {
	if r.Tracked == nil {
		return r
	}
	t := *r.Tracked
	text, _ := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_max")
	most, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	t.Limit = limit(most)
	t.MaxBehind = maxBehind(most, t.Limit)
	r.Tracked = &t
	return r
}

func (t *Tracked) check() error {
	if len(t.Behind) > maxNetworks {
		return fmt.Errorf("%w: more than %d networks behind clients", ErrRules, maxNetworks)
	}
	for _, n := range append([]netip.Prefix{t.Network}, t.Behind...) {
		if err := checkNetwork(n); err != nil {
			return err
		}
	}
	if i := slices.IndexFunc(t.Behind, t.Network.Overlaps); i >= 0 {
		return fmt.Errorf("%w: %s overlaps %s", ErrRules, t.Behind[i], t.Network)
	}
	return nil
}

// behind returns how many connections of a network behind a client are tracked if an address has
// that limit.
func (t *Tracked) behind(n netip.Prefix, limit int) int {
	hosts := 1 << (n.Addr().BitLen() - n.Bits())
	return min(max(2*limit, perHost*hosts), cmp.Or(t.MaxBehind, maxBehind(0, limit)))
}

// tracked counts each connection once, by its first packet.
func (b builder) tracked() []string {
	t := b.Tracked
	if t == nil {
		return nil
	}
	limit := cmp.Or(t.Limit, MaxTracked)
	rate := nftcmd.RateOver(MaxOpened, openedBurst)
	count := func(most int) string { return "ct count over " + strconv.Itoa(most) }
	const drop = " drop"
	from := "iifname " + b.tunnel + " ct state new ip saddr "
	own := from + nftcmd.Addresses(t.Network) + " "
	rules := []string{"ct status confirmed accept",
		own + nftcmd.Rated("ip saddr", rate) + drop,
		own + nftcmd.Counted("ip saddr", count(limit)) + drop}
	for _, n := range t.Behind {
		sender := from + nftcmd.Addresses(n) + " "
		// Smaller networks inside are those of other clients.
		if inner := inside(n, t.Behind); len(inner) > 0 {
			sender += "ip saddr != " + nftcmd.Addresses(inner...) + " "
		}
		rules = append(rules, sender+rate+drop, sender+count(t.behind(n, limit))+drop)
	}
	known := append([]netip.Prefix{t.Network}, t.Behind...)
	others := from + "!= " + nftcmd.Addresses(known...) + " "
	return append(rules, others+rate+drop, others+count(2*limit)+drop)
}

// inside returns those of all that are smaller than a network and in it.
func inside(n netip.Prefix, all []netip.Prefix) (inner []netip.Prefix) {
	for _, other := range all {
		if other.Bits() > n.Bits() && n.Contains(other.Addr()) {
			inner = append(inner, other)
		}
	}
	return inner
}
