package main

import (
	"context"
	"errors"
	"log/slog"

	"tunnel/ipcmd"
	"tunnel/route"
	"tunnel/tun"
)

// newDevice makes the TUN device and the Router of its addresses and routes. What a killed run of the same device has
// left is mended first. When it fails nothing is left. The caller owns both: Router.Close first, so that what was
// added is taken away by name, then Device.Close.
func newDevice(ctx context.Context, name string, log *slog.Logger) (_ tun.Device, _ *route.Router, err error) {
	if err := tun.Check(name); err != nil {
		// A device that a live run of ours has is better explained by its journal, below.
		if !errors.Is(err, tun.ErrTaken) {
			return nil, nil, err
		}
	}
	run := ipcmd.NewExec(log)
	dir, err := route.JournalDir()
	if err != nil {
		return nil, nil, fail(stepState, err, "")
	}
	journal, err := route.OpenJournal(dir, name)
	if err != nil {
		if errors.Is(err, route.ErrBusy) {
			return nil, nil, err
		}
		return nil, nil, fail(stepState, err, "")
	}
	router := route.New(run, journal, log)
	defer func() { //nolint:contextcheck // Close has its own time
		if err != nil {
			err = errors.Join(err, router.Close())
		}
	}()
	healed, err := journal.Heal(ctx, run)
	for _, what := range healed {
		log.Info("removed what a killed run left", "what", what)
	}
	if err != nil {
		return nil, nil, err
	}
	if err := journal.RecordDevice(); err != nil {
		return nil, nil, fail(stepState, err, "")
	}
	device, err := tun.Open(name)
	if err != nil {
		return nil, nil, err
	}
	if err := journal.ForgetDevice(); err != nil {
		return nil, nil, errors.Join(fail(stepState, err, ""), device.Close())
	}
	log.Info("device made", "dev", name, "offload", device.Offload())
	return device, router, nil
}
