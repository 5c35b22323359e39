package keep

import (
	"context"
	"time"

	"tunnel/netwatch"
)

// Network reports changes of this machine's network, as netwatch.Watcher does.
type Network interface {
	Next() (netwatch.Event, error)
	// Limit says which changes matter; Next may return others. It is called by other goroutines.
	Limit(to *netwatch.Limits) error
	Close() error
}

// Pauses of Follow.
const (
	settle = 50 * time.Millisecond  // after a change, because changes come in bursts
	calm   = 200 * time.Millisecond // least time between two calls of look
	again  = time.Second            // after a call of look that returned false
)

// Follow reads the events of network until ctx ends, and calls look soon after each event for which
// concerns returns true, and again after a pause while look returns false. It closes network.
// ended, if not nil, is called with the error if network fails.
func Follow(ctx context.Context, network Network, concerns func(netwatch.Event) bool,
	look func() bool, ended func(error)) {
	changed := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			e, err := network.Next()
			if err != nil {
				if ctx.Err() == nil && ended != nil {
					ended(err)
				}
				return
			}
			if !concerns(e) {
				continue
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	defer func() {
		_ = network.Close()
		<-done
	}()
	var retry <-chan time.Time
	for pause := settle; ; pause = calm {
		select {
		case <-changed:
		case <-retry:
			pause = 0
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		select { // look sees the changes up to now
		case <-changed:
		default:
		}
		retry = nil
		if !look() {
			retry = time.After(again)
		}
	}
}

// lookAgain is the pause between two looks at a firewall, of whose changes no event tells.
const lookAgain = 10 * time.Second

// Again calls look after each pause in which the Want has had a firewall, until ctx ends.
func (k *Keeper) Again(ctx context.Context, look func(context.Context) bool) {
	ticker := time.NewTicker(lookAgain)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if k.filters() {
				look(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

// filters reports whether the Want has a firewall: rules of its own, or those by which forwarding
// and a full tunnel open nothing else.
func (k *Keeper) filters() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.want.Firewall.IsZero() || len(k.want.Sysctls) > 0 || k.want.Full.On
}
