package cli

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"tunnel/cli/invocation"
	"tunnel/cli/machine"
	"tunnel/cli/output"
	"tunnel/config"
	"tunnel/config/setting"
	"tunnel/host"
	"tunnel/journal"
)

func cleanupCommand() *cli.Command {
	return &cli.Command{
		Name:  "cleanup",
		Usage: "remove what a killed run left in this network namespace",
		Description: "A killed run (SIGKILL, out of memory) cannot remove its routes. The next " +
			"run with the same --dev\n" +
			"does, or this command. Devices of live runs are left alone. Example:\n\n" +
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
	report, err := journal.Cleanup(c.Context, machine.Kernel(log), host.Kinds(), log, dirs...)
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
