// Package status has the commands that ask what runs on this machine: `tunnel status`, `tunnel
// peers`, `tunnel top` and `tunnel kick`.
package status

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"tunnel/admin/audit"
	"tunnel/admin/status"
	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/cli/output"
	"tunnel/cli/statedir"
	"tunnel/control"
	"tunnel/transport"
	"tunnel/tun"
)

const (
	flagDev   = "dev"
	flagJSON  = "json"
	flagWatch = "watch"
	flagCheck = "check"
	flagFor   = "for"
)

const (
	// interval is the time between two answers of --watch.
	interval = time.Second
	// ratePause is the time between the two answers of which the rates for people are made.
	ratePause = 500 * time.Millisecond
)

func devFlag() cli.Flag {
	return &cli.StringFlag{Name: flagDev, Usage: "ask only the client with the TUN device `NAME`"}
}

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: flagJSON, Usage: "print JSON, as docs/STATUS.md describes it"}
}

func watchFlag() cli.Flag {
	return &cli.BoolFlag{Name: flagWatch, Usage: "show it again every second, until Ctrl-C"}
}

// command returns a command whose flags are not empty.
func command(c cli.Command, run cli.ActionFunc) *cli.Command {
	c.OnUsageError, c.HideHelpCommand = invocation.UsageError, true
	c.Action = func(c *cli.Context) error {
		if err := invocation.NoneEmpty(c); err != nil {
			return err
		}
		return run(c)
	}
	return &c
}

// Command returns `tunnel status`.
func Command() *cli.Command {
	return command(cli.Command{
		Name:  "status",
		Usage: "show what runs here: clients, and the server with its clients",
		Description: "Asks the clients of this network namespace, and the server of --state. " +
			"Examples:\n\n" +
			"   sudo tunnel status\n" +
			"   sudo tunnel status --watch\n" +
			"   sudo tunnel status --check\n" +
			"   sudo tunnel status --json --dev tun0",
		Flags: []cli.Flag{
			devFlag(), statedir.Flag(), jsonFlag(), watchFlag(),
			&cli.BoolFlag{Name: flagCheck,
				Usage: "say only whether packets can cross, also by the exit code"},
		},
	}, func(c *cli.Context) error {
		if err := invocation.NoMore(c, 0); err != nil {
			return err
		}
		q, err := chosen(c)
		if err != nil {
			return err
		}
		if c.Bool(flagCheck) {
			return check(c, q)
		}
		return show(c, q, (*page).report)
	})
}

// chosen returns the question about what --dev or --state name, or else about all.
func chosen(c *cli.Context) (question, error) {
	state := statedir.Chosen(c)
	q := question{dev: c.String(flagDev), hubs: statedir.Candidates(state), given: state.Given}
	if q.dev == "" {
		return q, nil
	}
	if err := tun.CheckName(q.dev); err != nil {
		return q, failure.Usage("--%s: %w", flagDev, err)
	}
	// the environment's is for other commands
	if dir := c.String(invocation.FlagState); c.IsSet(invocation.FlagState) &&
		!slices.ContainsFunc(invocation.Variable(invocation.FlagState),
			func(name string) bool { return os.Getenv(name) == dir }) {
		return q, failure.Usage("--%s is about a client, and --%s about a server: leave one out",
			flagDev, invocation.FlagState)
	}
	q.hubs = nil
	return q, nil
}

// PeersCommand returns `tunnel peers`.
func PeersCommand() *cli.Command {
	return command(cli.Command{
		Name:        "peers",
		Usage:       "show the clients that are connected to the server",
		Description: "Example:\n\n   sudo tunnel peers",
		Flags:       []cli.Flag{statedir.Flag(), jsonFlag(), watchFlag()},
	}, func(c *cli.Context) error {
		if err := invocation.NoMore(c, 0); err != nil {
			return err
		}
		q := question{hubs: statedir.Candidates(statedir.Chosen(c)), onlyHub: true}
		return show(c, q, (*page).peers)
	})
}

// KickCommand returns `tunnel kick`.
func KickCommand() *cli.Command {
	return command(cli.Command{
		Name:      "kick",
		Usage:     "end a client's sessions; it comes back by itself",
		ArgsUsage: "NAME|ADDRESS",
		Description: "NAME is that of a token, all of whose clients are meant, and ADDRESS that of " +
			"one client.\nTo keep it out, use `tunnel token revoke`. Example:\n\n" +
			"   sudo tunnel kick laptop --for 10m",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: flagFor, Usage: "have it stay away for this `TIME`, up to 24h or 1d; " +
				"clients of older versions ignore more than a minute"},
			statedir.Flag(),
		},
	}, kick)
}

func kick(c *cli.Context) error {
	if err := invocation.NoMore(c, 1); err != nil {
		return err
	}
	who := c.Args().First()
	after, err := pauseOf(c.String(flagFor))
	switch {
	case who == "":
		return failure.Usage("which client? tunnel kick NAME, one of `tunnel peers`")
	case err != nil || after < 0 || after > transport.MaxKick:
		return failure.Usage("--%s %s is not a time within 0 to %v, like 10m or 1d", flagFor,
			c.String(flagFor), transport.MaxKick)
	}
	var refused error
	for _, dir := range statedir.Candidates(statedir.Chosen(c)) {
		sessions, err := control.NewClient(dir).By(audit.Self()).Kick(c.Context, who, after)
		switch {
		case errors.Is(err, control.ErrRefused):
			return failure.New(failure.StepUsage, err, "see `tunnel peers`")
		case err != nil:
			refused = errors.Join(refused, unlessNone(err))
			continue
		}
		text := fmt.Sprintf("ended %s of %s", count(sessions, "session"), who)
		if after > 0 {
			text += fmt.Sprintf(", for %v", after)
		}
		_, err = fmt.Fprintln(c.App.Writer, failure.Printable(text))
		return err
	}
	return nothing(refused, "no server runs here")
}

// pauseOf parses --for, whose days are those of --expires; "" is 0.
func pauseOf(text string) (time.Duration, error) {
	switch text {
	case "":
		return 0, nil
	case "1d":
		return 24 * time.Hour, nil // there may be no more
	}
	return time.ParseDuration(text)
}

// show asks and has print show the answer, with the one before it for rates; with --json it prints
// that, and with --watch it goes on until a signal.
func show(c *cli.Context, q question, print func(p *page, now, before status.Report)) error {
	q.silent = complain(c)
	now, err := q.ask(c.Context)
	if err != nil {
		return err
	}
	watch, before := c.Bool(flagWatch), now
	if c.Bool(flagJSON) {
		for {
			if err := output.WriteJSON(c.App.Writer, now, !watch); err != nil || !watch {
				return err
			}
			if !pause(c, interval) {
				return nil
			}
			if now, err = q.ask(c.Context); err != nil {
				q.silent(err) // and what runs next is asked again
			}
		}
	}
	for again := ratePause; ; again = interval {
		if !pause(c, again) {
			return nil
		}
		if now, err = q.ask(c.Context); err != nil && watch {
			q.silent(err)
			continue
		} else if err != nil {
			return err
		}
		var text bytes.Buffer
		if watch && output.IsTerminal() {
			text.WriteString("\x1b[H\x1b[2J") // to the top, and clear
		}
		print(&page{&text, output.IsColored()}, now, before)
		if _, err := c.App.Writer.Write(text.Bytes()); err != nil || !watch {
			return err
		}
		before = now
	}
}

// complain returns a function that reports what does not answer.
func complain(c *cli.Context) func(error) {
	return func(err error) {
		_, _ = fmt.Fprintln(c.App.ErrWriter, failure.Printable("tunnel: "+failure.Of(err).Error()))
	}
}

// pause waits for d. It returns false if a signal ended the command first.
func pause(c *cli.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-c.Done():
		return false
	}
}
