package keep

import (
	"context"
	"time"

	"tunnel/netwatch"
)

// Network tells when this machine's network changes, as netwatch.Watcher does.
type Network interface {
	Next() (netwatch.Event, error)
	// Limit says which changes matter; Next may return others. It is called by other goroutines.
	Limit(to *netwatch.Limits) error
	Close() error
}

// What Follow waits for.
const (
	settle = 50 * time.Millisecond  // after a change, for others: they come in bursts
	calm   = 200 * time.Millisecond // between two looks, the least
	again  = time.Second            // after a look that has failed
)

// Follow reads what network has to tell until ctx ends, and calls look soon after what concerns it;
// once more a while after each look that returns false. It closes network. ended, if not nil, is
// called with the error by which network ended.
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
		select { // what came meanwhile is in what is seen now
		case <-changed:
		default:
		}
		retry = nil
		if !look() {
			retry = time.After(again)
		}
	}
}
