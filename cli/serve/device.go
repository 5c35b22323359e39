package serve

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"

	"tunnel/cli/machine"
	"tunnel/client"
	"tunnel/host"
	"tunnel/keep"
	"tunnel/route"
)

// heldDevice is a server's device. Changes by others are undone while the server runs.
type heldDevice struct {
	keeper  *keep.Keeper
	network client.Network // nil if changes cannot be watched
	log     *slog.Logger
}

// holdDevice configures the device. The caller closes the result.
func holdDevice(ctx context.Context, router keep.Router, want host.Want,
	log *slog.Logger) (*heldDevice, error) {
	index := 0
	if link, err := net.InterfaceByName(want.Dev); err == nil {
		index = link.Index
	}
	held := &heldDevice{keeper: keep.New(router, index, log), network: machine.WatchNetwork(log),
		log: log}
	if err := held.keeper.Set(ctx, want); err != nil {
		held.close()
		return nil, err
	}
	if held.network != nil {
		limits := held.keeper.Limits()
		if err := held.network.Limit(&limits); err != nil {
			log.Debug("this machine is watched as a whole", "err", err)
		}
	}
	return held, nil
}

func (h *heldDevice) close() {
	if h.network != nil {
		_ = h.network.Close()
	}
}

// run runs serve, and ends it with an error when the device is lost.
func (h *heldDevice) run(ctx context.Context, serve func(context.Context) error) error {
	if h.network == nil {
		return serve(ctx)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	defer group.Wait()
	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	disturbed := false
	group.Go(func() {
		keep.Follow(watching, h.network, h.keeper.Concerns, func() bool {
			err := h.keeper.Check(watching)
			switch {
			case err == nil && disturbed:
				disturbed = false
				h.log.Info("clients can be reached again")
			case err == nil, watching.Err() != nil, errors.Is(err, route.ErrOverlap):
			case keep.Fatal(err):
				cancel(err)
			case errors.Is(err, host.ErrNotUsed):
				disturbed = true
				h.log.Warn("clients cannot be reached", "err", err)
			default:
				h.log.Warn("the device is not as it should be", "err", err)
				return false
			}
			return true
		}, func(err error) { h.log.Warn("the network is not watched any more", "err", err) })
	})
	err := serve(ctx)
	if cause := context.Cause(ctx); err == nil && keep.Fatal(cause) {
		err = cause
	}
	return err
}
