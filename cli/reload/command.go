package reload

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"tunnel/admin/audit"
	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/cli/statedir"
	"tunnel/config/setting"
	"tunnel/control"
	"tunnel/journal"
)

const flagDev = "dev"

// Command returns the command `tunnel reload`.
func Command() *cli.Command {
	return &cli.Command{
		Name:  "reload",
		Usage: "have what runs here read its configuration file again",
		Description: "No connection is lost. What needs a restart is named, and is as it was; a file " +
			"with an error\nchanges nothing. Where several run, say which. Examples:\n\n" +
			"   sudo tunnel reload\n" +
			"   sudo tunnel reload --dev tun1",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: flagDev, Usage: "the client with the TUN device `NAME`"},
			statedir.Flag(),
			&cli.StringFlag{Name: invocation.FlagConfig, TakesFile: true,
				Usage: "what runs with the configuration file `FILE`"},
		},
		OnUsageError:    invocation.UsageError,
		HideHelpCommand: true,
		Action:          command,
	}
}

func command(c *cli.Context) error {
	if err := invocation.NoMore(c, 0); err != nil {
		return err
	}
	var chosen []string
	for _, name := range []string{flagDev, invocation.FlagState, invocation.FlagConfig} {
		if !c.IsSet(name) {
			continue
		}
		if c.String(name) == "" {
			return failure.Usage("--%s is empty: give a value or leave it out", name)
		}
		chosen = append(chosen, "--"+name)
	}
	if len(chosen) > 1 {
		return failure.Usage("%s: give one of them", strings.Join(chosen, " and "))
	}
	found, err := find(c)
	if err != nil {
		return err
	}
	changes, err := found.client.By(audit.Self()).Reload(c.Context)
	var bad control.BadFileError
	switch {
	case errors.As(err, &bad):
		return append(setting.Errors(strings.Split(bad.Error(), "\n")),
			"nothing was changed: "+found.name+" goes on with what it has")
	case err != nil:
		return failure.New(failure.StepStatus, err, "see its log")
	}
	_, err = fmt.Fprintln(c.App.Writer, failure.Printable(found.name+": "+describe(changes)))
	if err != nil {
		return err
	}
	var left []string
	if changes.Failed != "" {
		left = append(left, "not all of it holds: "+changes.Failed)
	}
	if len(changes.Restart) > 0 {
		left = append(left, "needs a restart: "+strings.Join(changes.Restart, ", "))
	}
	if len(left) == 0 {
		return nil
	}
	return failure.New(failure.StepReload, errors.New(strings.Join(left, "; ")),
		"the rest is applied")
}

// describe says what was applied.
func describe(changes control.Changes) string {
	var parts []string
	for _, p := range []struct {
		when  setting.Effect
		names []string
	}{{setting.AtOnce, changes.AtOnce}, {setting.NextConnection, changes.Later}} {
		if len(p.names) > 0 {
			parts = append(parts, strings.Join(p.names, ", ")+" ("+string(p.when)+")")
		}
	}
	if len(changes.Files) > 0 {
		parts = append(parts, "the files of "+strings.Join(changes.Files, ", "))
	}
	if len(parts) == 0 {
		return "read again: no value has changed that needs no restart"
	}
	return "read again: " + strings.Join(parts, ", ")
}

// A run is what can be told to reload.
type run struct {
	name   string // for people
	client *control.Client
}

// find returns the one run that is meant.
func find(c *cli.Context) (run, error) {
	all, err := candidates(c)
	if err != nil {
		return run{}, err
	}
	var file string
	if c.IsSet(invocation.FlagConfig) {
		if file, err = filepath.Abs(c.String(invocation.FlagConfig)); err != nil {
			return run{}, failure.Usage("--%s: %w", invocation.FlagConfig, err)
		}
	}
	var found []run
	var refused error
	for _, r := range all {
		reads, err := r.client.File(c.Context)
		switch {
		case errors.Is(err, control.ErrNoServer):
		case errors.Is(err, os.ErrPermission) && !c.IsSet(flagDev): // another user's
		case err != nil:
			refused = errors.Join(refused, fmt.Errorf("%s: %w", r.name, err))
		case file == "" || reads == file:
			found = append(found, r)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	if len(found) > 1 {
		names := make([]string, len(found))
		for i, r := range found {
			names[i] = r.name
		}
		return run{}, failure.Usage("several run here: choose one of %s", strings.Join(names, ", "))
	}
	if refused != nil {
		return run{}, failure.New(failure.StepStatus, refused, "see its log")
	}
	advice := "start it in this network namespace, or name the directory of a server with --state DIR"
	if os.Geteuid() != 0 {
		advice = "root's are reloaded with sudo"
	}
	return run{}, failure.New(failure.StepStatus, errors.New("no such client or server runs here"),
		advice)
}

// candidates returns what may run here.
func candidates(c *cli.Context) (all []run, err error) {
	if !c.IsSet(flagDev) {
		for _, dir := range statedir.Candidates(statedir.Chosen(c)) {
			all = append(all, run{"--state " + dir, control.NewClient(dir)})
		}
		if c.IsSet(invocation.FlagState) {
			return all, nil
		}
	}
	dirs, err := journal.Dirs()
	if err != nil {
		return nil, err
	}
	sockets, err := journal.Beside(dirs, control.ClientSuffix)
	if err != nil {
		return nil, err
	}
	for _, s := range sockets {
		if dev := c.String(flagDev); dev == "" || dev == s.Dev {
			all = append(all, run{"--dev " + s.Dev, control.Of(s.Dir, s.Name)})
		}
	}
	return all, nil
}
