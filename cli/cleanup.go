package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"tunnel/cli/invocation"
	"tunnel/cli/machine"
	"tunnel/cli/output"
	"tunnel/config"
	"tunnel/config/setting"
	"tunnel/control"
	"tunnel/dns"
	"tunnel/host"
	"tunnel/journal"
)

func cleanupCommand() *cli.Command {
	return &cli.Command{
		Name:  "cleanup",
		Usage: "remove what a killed run left in this network namespace",
		Description: "A killed run (SIGKILL, out of memory) cannot remove its routes. The next " +
			"run with the same --dev\n" +
			"does, or this command. It also ends the kill switch of a run that has failed. Devices " +
			"of live runs are left alone. Example:\n\n" +
			"   sudo tunnel cleanup",
		Flags:           invocation.Flags(config.DefaultCleanup().Settings()),
		OnUsageError:    invocation.UsageError,
		HideHelpCommand: true,
		Action:          cleanup,
	}
}

func cleanup(c *cli.Context) error {
	if err := invocation.NoMore(c, 0); err != nil {
		return err
	}
	told, err := config.LoadCleanup(setting.Sources{Lookup: os.LookupEnv,
		Flags: invocation.GivenFlags(c)})
	if err != nil {
		return err
	}
	log := invocation.Logger(c, told.Log)
	output.KeepPipe()
	dirs, err := journal.Dirs()
	if err != nil {
		return err
	}
	this := machine.Kernel(log)
	report, err := journal.Cleanup(c.Context, this, host.Kinds(), log, dirs...)
	names, failed := dns.Heal(c.Context, this)
	if err = errors.Join(err, failed, removeSockets(dirs)); names != "" {
		report.Removed = append(report.Removed, names)
	}
	for _, what := range report.Removed {
		_, _ = fmt.Fprintf(c.App.Writer, "removed %s\n", what)
	}
	for i := range report.Busy {
		_, _ = fmt.Fprintf(c.App.Writer, "left alone: %v\n", &report.Busy[i])
	}
	if err == nil && len(report.Removed) == 0 {
		text := "nothing to remove"
		if os.Geteuid() != 0 {
			text = "nothing to remove of this user's runs; for root's use sudo"
		}
		_, _ = fmt.Fprintln(c.App.Writer, text)
	}
	return err
}

// removeSockets removes the sockets of clients that were killed, of this network namespace.
func removeSockets(dirs []string) error {
	all, failed := journal.Beside(dirs, control.ClientSuffix)
	for _, j := range all {
		held, err := journal.Held(j.Name)
		if err == nil && !held {
			err = control.RemoveStale(j.Dir, j.Name)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}
