package machine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/cli/failure"
	"tunnel/cmdrun"
	"tunnel/dns"
	"tunnel/host"
	"tunnel/ipcmd"
	"tunnel/journal"
	"tunnel/packet"
	"tunnel/route"
	"tunnel/rtnl"
	"tunnel/tun"
)

// made is a new TUN device, and the Host of its addresses and routes.
type made struct {
	file    *os.File // to give to tun.Use
	offload packet.Offload
	host    *host.Host
	healed  bool // a killed run had this device
}

// The device of a killed run vanishes with its last process, the worker, which may end a moment
// after the parent has released the journal.
const (
	ghostLimit = 2 * time.Second
	ghostPause = 20 * time.Millisecond
)

// makeDevice creates a device, after undoing what a killed run with this device has left. On error
// nothing is left. What keep returns stays, for this run to replace, also on error: that is a kill
// switch. The caller closes what was made.
func makeDevice(ctx context.Context, name string, log *slog.Logger, keep keeping) (m made,
	err error) {
	if err := tun.Check(name); err != nil {
		// If another run of this program has the device, its journal, below, gives the better
		// error.
		if !errors.Is(err, tun.ErrTaken) {
			return made{}, err
		}
	}
	this := Kernel(log)
	dir, err := journal.Dir()
	if err != nil {
		return made{}, err
	}
	notes, err := journal.Open(dir, name, host.Kinds())
	if err != nil {
		return made{}, err
	}
	m.healed = notes.Leftover()
	m.host = host.New(this, notes, log)
	defer func() { //nolint:contextcheck // Close has its own time
		if err != nil {
			err = errors.Join(err, m.host.CloseSealed())
			m = made{}
		}
	}()
	kept, err := keep(ctx, this, notes)
	if err != nil {
		return m, err
	}
	removed, err := notes.Heal(ctx, this, kept...)
	m.host.Adopt()
	for _, what := range removed {
		log.Info("removed what a killed run left", "what", what)
	}
	if err != nil {
		return m, err
	}
	healNames(ctx, this, log)
	if err := notes.Note(route.Device{Dev: name}); err != nil {
		return m, err
	}
	for until := time.Now().Add(ghostLimit); ; time.Sleep(ghostPause) {
		m.file, m.offload, err = tun.Make(name)
		if !errors.Is(err, tun.ErrTaken) || !m.healed || time.Now().After(until) {
			break
		}
	}
	if errors.Is(err, unix.EACCES) { // without CAP_NET_ADMIN it would be EPERM
		return m, closedNode()
	}
	if err != nil {
		return m, err
	}
	if err := notes.Drop(route.Device{Dev: name}); err != nil {
		return m, errors.Join(err, m.file.Close())
	}
	log.Info("device made", "dev", name, "offload", m.offload)
	return m, nil
}

// healNames undoes what a run has left in /etc/resolv.conf whose journal is gone. Without it the
// machine has the names that it has had until now.
func healNames(ctx context.Context, m journal.Machine, log *slog.Logger) {
	switch removed, err := dns.Heal(ctx, m); {
	case err != nil:
		log.Warn("DNS servers of a run that has ended are left", "err", err)
	case removed != "":
		log.Info("removed what a run has left that had no time to", "what", removed)
	}
}

// Kernel returns the access to this machine's kernel by `ip` and rtnetlink.
func Kernel(log *slog.Logger) journal.Machine {
	return journal.Machine{Run: ipcmd.NewRunner(cmdrun.NewExec(log)), Look: rtnl.Kernel{}, Log: log}
}

// closedNode returns the failure of a process with CAP_NET_ADMIN that may not open /dev/net/tun.
func closedNode() error {
	const node = "/dev/net/tun"
	err := fmt.Errorf("open %s: %w", node, unix.EACCES)
	var info unix.Stat_t
	if unix.Stat(node, &info) == nil {
		err = fmt.Errorf("%w (mode %04o, uid %d, gid %d)", err, info.Mode&0o7777, info.Uid,
			info.Gid)
	}
	return failure.New(failure.StepDevice, err,
		"`sudo chmod 666 "+node+"`, as most distributions have it, or give it a group of this user")
}
