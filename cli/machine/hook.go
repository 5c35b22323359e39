package machine

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"tunnel/cli/priority"
	"tunnel/host"
	"tunnel/supervisor"
)

// downTimeout bounds --on-down, so that the program ends within two seconds of a signal.
const downTimeout = time.Second

// runHook runs a command of --on-up or --on-down by /bin/sh. Its output goes to the program's
// stderr. It does not inherit the program's priority, because it may compute for hours. When ctx
// ends, it and its children are killed.
func runHook(ctx context.Context, flag, command string, dev string, address host.Address,
	log *slog.Logger) {
	if command == "" {
		return
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), isSecret),
		"TUNNEL_DEV="+dev, "TUNNEL_ADDRESS="+address.Local.String(),
		"TUNNEL_PEER="+address.Peer.String())
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err := cmd.Start()
	if err == nil {
		if err := priority.Drop(cmd.Process.Pid); err != nil {
			log.Warn("hook runs with the program's priority", "flag", flag, "err", err)
		}
		err = cmd.Wait()
	}
	switch {
	case err == nil:
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		log.Warn("hook ended: it took too long", "flag", flag, "limit", downTimeout)
	case ctx.Err() != nil:
		log.Warn("hook ended: the tunnel goes down", "flag", flag)
	default:
		log.Warn("hook failed", "flag", flag, "err", err)
	}
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
