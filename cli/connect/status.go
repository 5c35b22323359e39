package connect

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"tunnel/admin/audit"
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
	reloads control.Reloads, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ln, err := this.Listen(ctx)
	if err != nil {
		cancel()
		log.Warn("no control socket: `tunnel status` does not reach this client", "err", err)
		return func() {}
	}
	var group sync.WaitGroup
	group.Go(func() { control.ServeClient(ctx, ln, r, reloads, log) })
	return func() {
		cancel()
		group.Wait()
	}
}

// past returns what --on-down is told of the time since the device was up. stopped is not nil if
// the program was told to end.
func past(r *report.Recorder, stopped error) audit.Entry {
	since, bytes, reason := r.SinceUp()
	if stopped != nil {
		reason = report.Stopped
	}
	e := audit.Entry{Time: time.Now(), Event: audit.SessionEnded, Reason: reason,
		End: audit.EndOf(since, bytes.Sent, bytes.Received, 0)}
	e.Tidy()
	return e
}
