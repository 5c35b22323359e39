package connect

import (
	"context"
	"log/slog"
	"sync"

	"tunnel/admin/status"
	"tunnel/cli/machine"
	"tunnel/client/report"
	"tunnel/config"
	"tunnel/control"
)

// newRecorder returns the Recorder of a client with these flags.
func newRecorder(told *config.Connect, version string) *report.Recorder {
	return report.New(status.Client{Dev: told.Dev, Version: version, FullTunnel: told.FullTunnel,
		KillSwitch: told.KillSwitch, AcceptDNS: told.AllNames()})
}

// serveStatus answers `tunnel status` until the returned function is called. Without the socket the
// client runs as well.
func serveStatus(ctx context.Context, this machine.Machine, r *report.Recorder,
	log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ln, err := this.Listen(ctx)
	if err != nil {
		cancel()
		log.Warn("no control socket: `tunnel status` does not reach this client", "err", err)
		return func() {}
	}
	var group sync.WaitGroup
	group.Go(func() { control.ServeClient(ctx, ln, r.Status, log) })
	return func() {
		cancel()
		group.Wait()
	}
}
