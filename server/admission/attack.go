package admission

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"log/slog"
	"maps"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// attackFrom is the number of refusals within attackWindow that the log calls an attack.
	attackFrom   = 100
	attackWindow = time.Minute
	// networksMost is how many networks have a counter. One with more than 1/networksMost of all
	// refusals always has one.
	networksMost = 256
)

// attack counts refused connections and, while there are many, logs one line a window. Counting one
// takes constant time and memory, and never waits for the log.
type attack struct {
	log  *slog.Logger
	now  func() time.Time
	wake chan struct{} // has an element when an attack has begun

	mu    sync.Mutex
	began time.Time // of the window
	tally tally     // of the window
	since time.Time // of the attack, zero if there is none
	all   uint64    // refused since then
}

// tally has the refusals of a window.
type tally struct {
	refused [reasons]uint64
	// lower bounds: Misra and Gries, Finding repeated elements, 1982
	networks map[netip.Prefix]uint64
	// a bitmap of hashes: Whang and others, A linear-time probabilistic counting algorithm,
	// 1990
	sources [1024]uint64
}

func newAttack(log *slog.Logger, now func() time.Time) *attack {
	return &attack{log: log, now: now, wake: make(chan struct{}, 1), began: now()}
}

// note counts a refusal, but none that is Silent.
func (a *attack) note(why Reason, source netip.Prefix) {
	if why == Silent {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if a.since.IsZero() && now.Sub(a.began) >= attackWindow {
		a.began, a.tally = now, tally{}
	}
	a.tally.add(why, source)
	if a.since.IsZero() && a.tally.total() >= attackFrom {
		a.since = a.began
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// run logs attacks until ctx ends.
func (a *attack) run(ctx context.Context) {
	ticker := time.NewTicker(attackWindow)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
			ticker.Reset(attackWindow)
		case <-ticker.C:
		}
		a.logWindow()
	}
}

// logWindow ends the window, and logs it if there is an attack.
func (a *attack) logWindow() {
	a.mu.Lock()
	now := a.now()
	t, lasted, since := a.tally, now.Sub(a.began), a.since
	a.began, a.tally = now, tally{}
	a.all += t.total()
	all := a.all
	over := t.total() < attackFrom
	if over {
		a.since, a.all = time.Time{}, 0
	}
	a.mu.Unlock()
	switch {
	case since.IsZero():
	case over:
		a.log.Info("the attack is over", "lasted", now.Sub(since).Round(time.Second), "turned_away",
			all)
	default:
		a.log.Warn("under attack: unauthenticated connections are turned away; sources of known "+
			"clients have places of their own",
			"turned_away", t.total(), "within", lasted.Round(100*time.Millisecond), "sources",
			t.distinct(), "most_from", t.heaviest(3),
			"evicted", t.refused[Evicted], "over_rate", t.refused[Rate], "over_limit",
			t.refused[PerSource]+t.refused[Total],
			"no_processor_time", t.refused[Late])
	}
}

//nolint:gochecknoglobals // random, so that nobody can choose sources that count as one
var sourceSeed = maphash.MakeSeed()

func (t *tally) add(why Reason, source netip.Prefix) {
	t.refused[why]++
	h := maphash.Comparable(sourceSeed, source)
	t.sources[h>>6%uint64(len(t.sources))] |= 1 << (h & 63)
	network := source
	if all := networks(source); len(all) > 0 {
		network = all[len(all)-1]
	}
	if t.networks == nil {
		t.networks = map[netip.Prefix]uint64{}
	}
	if _, ok := t.networks[network]; ok || len(t.networks) < networksMost {
		t.networks[network]++
		return
	}
	for p := range t.networks { // each decrement undoes an increment: constant time on average
		if t.networks[p]--; t.networks[p] == 0 {
			delete(t.networks, p)
		}
	}
}

// total returns the number of refusals.
func (t *tally) total() (n uint64) {
	for _, count := range t.refused {
		n += count
	}
	return n
}

// distinct returns an estimate of the number of sources.
func (t *tally) distinct() int {
	set := 0
	for _, word := range t.sources {
		set += bits.OnesCount64(word)
	}
	all := float64(64 * len(t.sources))
	return int(math.Round(all * math.Log(all/max(1, all-float64(set)))))
}

// heaviest returns the n networks with the most refusals, each with its share.
func (t *tally) heaviest(n int) string {
	order := slices.SortedFunc(maps.Keys(t.networks), func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(t.networks[b], t.networks[a]), a.Addr().Compare(b.Addr()))
	})
	var text []string
	for _, p := range order[:min(n, len(order))] {
		name := p.String()
		if !p.IsValid() {
			name = "this machine or a proxy"
		}
		text = append(text,
			fmt.Sprintf("%s %.0f%%", name, 100*float64(t.networks[p])/float64(t.total())))
	}
	return strings.Join(text, ", ")
}
