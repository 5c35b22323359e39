// Package record is what a hub's machine does about what the hub tells it: it writes the audit log
// and runs the user's hooks. It is the parent's part, which trusts no value of the worker.
package record

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tunnel/admin/audit"
	"tunnel/admin/audit/trail"
	"tunnel/auth"
	"tunnel/cli/failure"
	"tunnel/cli/hooks"
	"tunnel/cli/invocation"
	"tunnel/config"
	"tunnel/host"
	"tunnel/lease"
)

// closeLimit bounds how long a disk may take at the end.
const closeLimit = 500 * time.Millisecond

// A Keeper writes entries and runs hooks about them. Its methods may be called concurrently; those
// of a nil *Keeper do nothing.
type Keeper struct {
	told  *config.Serve
	own   host.Address
	log   *slog.Logger
	trail *trail.Trail // nil without --audit-log
	queue *hooks.Queue // of --on-connect and --on-disconnect
	mu    sync.Mutex
	lines *sessionLimits // guarded by mu
	up    sync.Once
	down  sync.Once
	// limits lines about entries that are refused
	refused rate.Sometimes
	// ends --on-up and waits for it
	begun  sync.WaitGroup
	upping context.Context //nolint:containedctx // of --on-up, until down
	stop   context.CancelFunc
}

// New returns the Keeper of a server with these flags, which opens its audit log; nil if they want
// neither that nor hooks. The caller calls End.
func New(told *config.Serve, log *slog.Logger) (*Keeper, error) {
	if told.AuditLog == "" && !told.Hooks() {
		return nil, nil //nolint:nilnil // see above
	}
	pair, _ := lease.PairOf(told.Network, 0)
	k := &Keeper{told: told, log: log, own: host.Address{Local: pair.Local, Peer: pair.Peer},
		refused: rate.Sometimes{Interval: omittedPause}}
	if told.AuditLog != "" {
		var err error
		if k.trail, err = trail.Open(told.AuditLog, told.AuditLogSize, log); err != nil {
			return nil, failure.New(failure.StepState, fmt.Errorf("open the audit log: %w", err),
				adviceOn(told.AuditLog))
		}
	}
	k.queue, k.lines = hooks.NewQueue(log), newSessionLimits()
	k.upping, k.stop = context.WithCancel(context.Background())
	return k, nil
}

// adviceOn returns what to do about an audit log that cannot be opened.
func adviceOn(name string) string {
	if name == trail.ToJournal {
		return "start systemd-journald, or give --audit-log FILE"
	}
	return "make its directory, or choose another --audit-log; a file or a directory of others is " +
		"not written to"
}

// Write writes entries, and has hooks run about them, without waiting but for --on-down, which runs
// when the hub says that it stopped. An entry that no hub makes is left out, and counted as lost.
func (k *Keeper) Write(entries []audit.Entry) error {
	if k == nil {
		return nil
	}
	good := entries[:0:0]
	for _, e := range entries {
		if err := k.check(e); err != nil {
			k.refuse(err)
			continue
		}
		good = append(good, e)
	}
	for _, e := range good {
		switch e.Event {
		case audit.HubStarted:
			k.up.Do(func() {
				k.begun.Go(func() { k.call(invocation.OnUp, audit.Entry{}).Up(k.upping, k.log) })
			})
		case audit.SessionStarted:
			k.queue.Add(k.call(invocation.OnConnect, e))
		case audit.SessionEnded:
			k.queue.Add(k.call(invocation.OnDisconnect, e))
		}
	}
	if err := k.write(good); err != nil {
		return err
	}
	if slices.ContainsFunc(good, isStop) {
		k.endHooks()
	}
	return nil
}

// write writes entries but those of too many sessions.
func (k *Keeper) write(entries []audit.Entry) error {
	if k.trail == nil {
		return nil
	}
	k.mu.Lock()
	kept := k.lines.take(entries, time.Now())
	k.mu.Unlock()
	if len(kept) == 0 {
		return nil
	}
	return k.trail.Write(kept)
}

// refuse counts an entry that is not written.
func (k *Keeper) refuse(why error) {
	k.refused.Do(func() { k.log.Warn("an entry of the audit log is refused", "err", why) })
	if k.trail != nil {
		k.trail.Lose(1, why)
	}
}

// errForged means that an entry has what no hub tells.
var errForged = errors.New("an entry that no hub makes")

// check returns an error if an entry is none of this hub's.
func (k *Keeper) check(e audit.Entry) error {
	if err := e.Check(); err != nil {
		return err
	}
	session := e.Event == audit.SessionStarted || e.Event == audit.SessionEnded
	switch {
	case e.Token != "" && auth.CheckName(e.Token) != nil,
		session && (e.Session == 0 || !k.told.Network.Contains(e.Address)),
		e.Event == audit.SessionEnded && e.End == nil:
		return errForged
	}
	return nil
}

// call returns the run of the command of a flag.
func (k *Keeper) call(flag string, about audit.Entry) hooks.Call {
	return hooks.Call{Flag: flag, Command: k.told.Hook(flag), Dev: k.told.Dev, Address: k.own,
		About: about}
}

// endHooks runs the hooks that wait, ends --on-up, and runs --on-down if there was an --on-up,
// once.
func (k *Keeper) endHooks() {
	k.down.Do(func() {
		k.queue.Close()
		k.stop()
		k.begun.Wait()
		started := true
		k.up.Do(func() { started = false })
		if started {
			k.call(invocation.OnDown, audit.Entry{}).Down(context.Background(), k.log)
		}
	})
}

// End ends the hooks unless the hub has said that it stopped, and closes the audit log. A disk that
// hangs is not waited for.
func (k *Keeper) End() {
	if k == nil {
		return
	}
	k.endHooks()
	if k.trail == nil {
		return
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		k.mu.Lock()
		left := k.lines.count(k.told.Dev, time.Now())
		k.mu.Unlock()
		if len(left) > 0 {
			_ = k.trail.Write(left)
		}
		if err := k.trail.Close(); err != nil {
			k.log.Warn("the audit log", "err", err)
		}
	}()
	select {
	case <-closed:
	case <-time.After(closeLimit):
	}
}
