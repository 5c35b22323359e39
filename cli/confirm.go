package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/config"
	"tunnel/config/setting"
	"tunnel/control"
	"tunnel/journal"
)

func confirmCommand() *cli.Command {
	return &cli.Command{
		Name:  "confirm",
		Usage: "keep what tunnel connect --confirm has changed",
		Description: "A run with --confirm undoes everything and ends unless this is run in time, in\n" +
			"the same network namespace. Example:\n\n" +
			"   sudo tunnel confirm",
		Flags:           invocation.Flags(config.DefaultConfirm().Settings()),
		OnUsageError:    invocation.UsageError,
		HideHelpCommand: true,
		Action:          confirm,
	}
}

func confirm(c *cli.Context) error {
	if err := invocation.NoMore(c, 0); err != nil {
		return err
	}
	told, err := config.LoadConfirm(setting.Sources{Lookup: os.LookupEnv,
		Flags: invocation.GivenFlags(c)})
	if err != nil {
		return err
	}
	name, err := journal.NameFor(told.Dev)
	if err != nil {
		return err
	}
	dirs, err := journal.Dirs()
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := control.Confirm(c.Context, dir, name); !errors.Is(err, control.ErrNotWaiting) {
			if err != nil {
				return failure.New(failure.StepConfirm, err, "")
			}
			_, err = fmt.Fprintf(c.App.Writer, "confirmed: %s\n", told.Dev)
			return err
		}
	}
	return failure.New(failure.StepConfirm, fmt.Errorf("%w with --dev %s", control.ErrNotWaiting,
		told.Dev), "it has ended, or runs without --confirm, or for another user: use sudo")
}
