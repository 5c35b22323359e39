package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/ipcmd"
	"tunnel/packet"
	"tunnel/route"
	"tunnel/rtnl"
	"tunnel/tun"
)

// made is a TUN device, and the Router of its addresses and routes.
type made struct {
	file    *os.File // to give to tun.Use
	offload packet.Offload
	router  *route.Router
	healed  bool // a killed run had the same device
}

// What a killed run had goes with its last process, the worker, a moment after the journal that tells of it.
const (
	ghostLimit = 2 * time.Second
	ghostPause = 20 * time.Millisecond
)

// makeDevice makes a device. What a killed run of the same name has left is mended first. When it fails nothing is left.
// The caller owns what was made.
func makeDevice(ctx context.Context, name string, log *slog.Logger) (m made, err error) {
	if err := tun.Check(name); err != nil {
		// A device that a live run of ours has is better explained by its journal, below.
		if !errors.Is(err, tun.ErrTaken) {
			return made{}, err
		}
	}
	run := ipcmd.NewExec(log)
	dir, err := route.JournalDir()
	if err != nil {
		return made{}, err
	}
	journal, err := route.OpenJournal(dir, name)
	if err != nil {
		return made{}, err
	}
	m.healed = journal.Leftover()
	m.router = route.New(run, rtnl.Kernel{}, journal, log)
	defer func() { //nolint:contextcheck // Close has its own time
		if err != nil {
			err = errors.Join(err, m.router.Close())
			m = made{}
		}
	}()
	removed, err := journal.Heal(ctx, run, rtnl.Kernel{})
	for _, what := range removed {
		log.Info("removed what a killed run left", "what", what)
	}
	if err != nil {
		return m, err
	}
	if err := journal.RecordDevice(); err != nil {
		return m, err
	}
	for until := time.Now().Add(ghostLimit); ; time.Sleep(ghostPause) {
		m.file, m.offload, err = tun.Make(name)
		if !errors.Is(err, tun.ErrTaken) || !m.healed || time.Now().After(until) {
			break
		}
	}
	if errors.Is(err, unix.EACCES) { // for want of CAP_NET_ADMIN it would be EPERM
		return m, closedNode()
	}
	if err != nil {
		return m, err
	}
	if err := journal.ForgetDevice(); err != nil {
		return m, errors.Join(err, m.file.Close())
	}
	log.Info("device made", "dev", name, "offload", m.offload)
	return m, nil
}

// closedNode explains that this process, which has CAP_NET_ADMIN, may not open the file by which devices are made.
func closedNode() error {
	const node = "/dev/net/tun"
	err := fmt.Errorf("open %s: %w", node, unix.EACCES)
	var info unix.Stat_t
	if unix.Stat(node, &info) == nil {
		err = fmt.Errorf("%w (mode %04o, uid %d, gid %d)", err, info.Mode&0o7777, info.Uid, info.Gid)
	}
	return fail(stepDevice, err, "`sudo chmod 666 "+node+"`, as most distributions have it, or give it a group of this user")
}
