// Package push takes the updates of a server: what of the networks that it pushes becomes a route
// of this machine, and what of its DNS servers resolves names.
package push

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tunnel/client/grant"
	"tunnel/dns"
	"tunnel/host"
	"tunnel/policy"
	"tunnel/transport"
)

const (
	// patience is how long after the begin of a session the routes of the last one stay without an
	// update: a server that sends none does not push any.
	patience = 10 * time.Second
	// pause is the least time between two changes of routes.
	pause = time.Second
	// each change runs commands: this many at once, then one in each such time
	changeBurst = 10
	changeEvery = time.Minute
	// maxRoutes bounds the routes: a Want has to fit into a message between the processes.
	maxRoutes = 1024
)

// Inbox has the newest update of one session, from whichever connection it came.
type Inbox struct {
	ring chan struct{} // holds a token when there is an update that nobody has taken

	mu     sync.Mutex
	newest transport.Update
}

// NewInbox returns an Inbox without an update.
func NewInbox() *Inbox { return &Inbox{ring: make(chan struct{}, 1)} }

// Put notes an update, unless it is not newer than the last. It does not wait.
func (b *Inbox) Put(u transport.Update) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if u.Serial <= b.newest.Serial {
		return
	}
	b.newest = u
	select {
	case b.ring <- struct{}{}:
	default:
	}
}

// take returns the newest update.
func (b *Inbox) take() transport.Update {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.newest
}

// Keeper maintains routes and DNS settings, as keep.Keeper does.
type Keeper interface {
	SetMore(ctx context.Context, routes []host.Route, names dns.Config) error
}

// Taker takes updates, one session after another. Its methods are not called concurrently.
type Taker struct {
	Accept grant.Routes
	// AllNames has the server's DNS servers resolve the names of all domains.
	AllNames bool
	Keeper   Keeper
	// what is taken, or refused because the user has not accepted it, has changed; may be nil
	Changed func(taken, refused []netip.Prefix)
	// which of the server's DNS servers lie in no network that is taken has changed; may be nil
	Unreached func(servers []netip.Addr)
	// AllNames is set, and no DNS server of the server is used; may be nil
	Nameless func()
	// Offered are the networks behind this client, as others see them.
	Offered []netip.Prefix
	// which of them the server does not let this client offer has changed; may be nil
	Disallowed func(networks []netip.Prefix)
	Log        *slog.Logger

	taken, refused []netip.Prefix
	disallowed     []netip.Prefix
	names          dns.Config
	unreached      []netip.Addr
	nameless       bool
	tooMany        int
	changes        *rate.Limiter // of what SetMore is given

	mu     sync.Mutex
	rules  *policy.Client // guarded by mu, as routed; of the last session, nil before
	routed []netip.Prefix // that lead into the tunnel
	except []netip.Prefix // guarded by mu; public ones that do not, with a full tunnel
}

// Forget records that the device has lost its routes and DNS servers.
func (t *Taker) Forget() {
	t.taken, t.refused, t.disallowed = nil, nil, nil
	t.names, t.unreached = dns.Config{}, nil
}

// Begin gives the rules of a session what is routed into the tunnel, now and whenever it changes.
func (t *Taker) Begin(rules *policy.Client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rules = rules
	rules.Take(t.routed)
	rules.Except(t.except)
}

// Routed is told which of the networks lead into the tunnel: of others, which this machine has
// elsewhere, the server may send nothing. It may be called concurrently.
func (t *Taker) Routed(networks []netip.Prefix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.routed = networks
	if t.rules != nil {
		t.rules.Take(networks)
	}
}

// Except is told which public networks stay outside a full tunnel: of paths to these the server may
// report nothing. It may be called concurrently.
func (t *Taker) Except(networks []netip.Prefix) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.except = networks
	if t.rules != nil {
		t.rules.Except(networks)
	}
}

// Follow takes the updates of a session, whose routes are by way of via, until ctx ends.
func (t *Taker) Follow(ctx context.Context, from *Inbox, via netip.Addr, rules *policy.Client) {
	if t.changes == nil {
		t.changes = rate.NewLimiter(rate.Every(changeEvery), changeBurst)
	}
	wait := time.NewTimer(patience)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-wait.C: // none has come
		case <-from.ring:
			wait.Stop()
		}
		changed := t.apply(ctx, from.take(), via, rules)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if changed && t.changes.Wait(ctx) != nil {
			return
		}
	}
}

// apply takes of an update what the user accepts, and reports whether that has changed.
func (t *Taker) apply(ctx context.Context, u transport.Update, via netip.Addr,
	rules *policy.Client) (changed bool) {
	t.compare(u.Behind)
	take, refused := t.Accept.Take(u.Routes)
	if len(take) > maxRoutes {
		if len(take) != t.tooMany {
			t.Log.Warn("some networks behind the server are not routed into the tunnel: there are too many",
				"networks", len(take), "most", maxRoutes)
		}
		t.tooMany, take = len(take), take[:maxRoutes]
	}
	names, unreached := t.choose(u, append(slices.Clone(take), rules.Network), rules.Public)
	if len(unreached) > 0 && !slices.Equal(unreached, t.unreached) && t.Unreached != nil {
		t.Unreached(unreached)
	}
	t.unreached = unreached
	nameless := t.AllNames && names.IsZero()
	if nameless && !t.nameless && t.Nameless != nil {
		t.Nameless()
	}
	t.nameless = nameless
	if !slices.Equal(take, t.taken) || !names.Equal(t.names) {
		changed = true
		routes := make([]host.Route, len(take))
		for i, p := range take {
			routes[i] = host.Route{Prefix: p, Via: via}
		}
		if err := t.Keeper.SetMore(ctx, routes, names); err != nil {
			if ctx.Err() == nil {
				t.Log.Warn("networks behind the server are not all routed into the tunnel", "err",
					err)
			}
			return changed
		}
	} else if slices.Equal(refused, t.refused) {
		return false
	}
	differs := !slices.Equal(take, t.taken) || !slices.Equal(refused, t.refused)
	t.taken, t.refused, t.names = take, refused, names
	if differs && t.Changed != nil {
		t.Changed(take, refused)
	}
	return changed
}

// compare reports those of the networks offered that the server does not allow.
func (t *Taker) compare(allowed []netip.Prefix) {
	disallowed := slices.DeleteFunc(slices.Clone(t.Offered), func(p netip.Prefix) bool {
		return slices.ContainsFunc(allowed, func(a netip.Prefix) bool {
			return a.Bits() <= p.Bits() && a.Contains(p.Addr())
		})
	})
	if len(disallowed) > 0 && !slices.Equal(disallowed, t.disallowed) && t.Disallowed != nil {
		t.Disallowed(disallowed)
	}
	t.disallowed = disallowed
}

// choose returns the DNS settings of an update, and those of its servers that would not be reached
// through the tunnel, or are none of the server's, see dns.Config.Within.
func (t *Taker) choose(u transport.Update, networks []netip.Prefix,
	full bool) (dns.Config, []netip.Addr) {
	all := dns.Config{Servers: unique(u.DNS), Domains: unique(u.Domains), All: t.AllNames}
	names := all.Within(networks, full)
	return names, slices.DeleteFunc(all.Servers,
		func(s netip.Addr) bool { return slices.Contains(names.Servers, s) })
}

// unique returns all without repetitions, in the same order.
func unique[T comparable](all []T) (once []T) {
	for _, v := range all {
		if !slices.Contains(once, v) {
			once = append(once, v)
		}
	}
	return once
}
