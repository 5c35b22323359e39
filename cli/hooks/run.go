// Package hooks runs the user's commands of --on-up, --on-down, --on-connect and --on-disconnect.
package hooks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/admin/audit"
	"tunnel/host"
	"tunnel/supervisor"
)

// downLimit bounds --on-down, so that the program ends within two seconds of a signal: half a
// second each are for connections and for lastLimit.
const downLimit = time.Second

// A Call is one run of a command.
type Call struct {
	Flag    string // without --
	Command string // for /bin/sh -c; "" runs nothing
	Dev     string
	Address host.Address // of the device
	// the session that it is about, if any: its texts become variables, which no shell parses
	About audit.Entry
}

// Up runs c until it ends by itself, or until ctx ends.
func (c Call) Up(ctx context.Context, log *slog.Logger) { c.run(ctx, 0, false, log) }

// Down runs c for a second at most.
func (c Call) Down(ctx context.Context, log *slog.Logger) {
	c.run(context.WithoutCancel(ctx), downLimit, false, log)
}

// run runs c by /bin/sh. Its output goes to the program's stderr. It does not inherit the program's
// priority, because it may compute for hours. When ctx ends, or after limit unless that is 0, it
// and its children are killed; with alone, what it has left running is killed when it ends.
func (c Call) run(ctx context.Context, limit time.Duration, alone bool, log *slog.Logger) {
	if c.Command == "" {
		return
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	log = log.With("flag", "--"+c.Flag)
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", c.Command)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), isSecret), c.variables()...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err := cmd.Start()
	if err == nil {
		if err := dropPriority(cmd.Process.Pid); err != nil {
			log.Warn("hook runs with the program's priority", "err", err)
		}
		if alone {
			killLeft(cmd.Process.Pid)
		}
		err = cmd.Wait()
	}
	switch {
	case err == nil:
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		log.Warn("hook ended: it took too long", "limit", limit)
	case ctx.Err() != nil:
		log.Warn("hook ended: the tunnel goes down")
	default:
		log.Warn("hook failed", "err", err)
	}
}

// killLeft waits for the end of the leader of a process group, and kills what is left of the group.
// The leader is not reaped yet, so that its number is still the group's.
func killLeft(group int) {
	var ended unix.Siginfo
	for errors.Is(unix.Waitid(unix.P_PID, group, &ended, unix.WEXITED|unix.WNOWAIT, nil),
		unix.EINTR) {
	}
	_ = syscall.Kill(-group, syscall.SIGKILL)
}

// variables returns what a command is told, as NAME=VALUE.
func (c Call) variables() []string {
	all := []string{"TUNNEL_HOOK=" + c.Flag, "TUNNEL_DEV=" + c.Dev,
		"TUNNEL_ADDRESS=" + c.Address.Local.String(), "TUNNEL_PEER=" + c.Address.Peer.String()}
	e := c.About
	if e.Session > 0 {
		all = append(all, "TUNNEL_SESSION="+strconv.FormatUint(e.Session, 10),
			"TUNNEL_CLIENT_NAME="+e.Token, "TUNNEL_CLIENT_ADDRESS="+e.Address.String(),
			"TUNNEL_CLIENT_REMOTE="+e.Remote, "TUNNEL_CLIENT_CERT_SUBJECT="+e.Subject)
	}
	if e.End != nil {
		all = append(all, "TUNNEL_REASON="+e.Reason,
			fmt.Sprintf("TUNNEL_DURATION=%.0f", e.End.Seconds),
			fmt.Sprintf("TUNNEL_BYTES_IN=%d", e.End.Received),
			fmt.Sprintf("TUNNEL_BYTES_OUT=%d", e.End.Sent))
	}
	return all
}

// isSecret reports whether a hook must not get a variable of the environment: this program's own,
// which may have the token, those by which systemd takes this process's word, and those of a proxy
// with a user or password before an @, with or without a scheme.
func isSecret(variable string) bool {
	name, value, _ := strings.Cut(variable, "=")
	if strings.HasSuffix(strings.ToUpper(name), "_PROXY") && strings.Contains(value, "@") {
		return true
	}
	return strings.HasPrefix(name, "TUNNEL_") || slices.Contains(supervisor.Variables(), name)
}

// zeroNice is a nice value of 0 as the system call getpriority returns it: 20 minus the nice value.
const zeroNice = 20

// dropPriority sets the nice value of a process group to 0 if this program's is lower.
func dropPriority(group int) error {
	now, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil || now <= zeroNice {
		return err
	}
	return unix.Setpriority(unix.PRIO_PGRP, group, 0)
}
