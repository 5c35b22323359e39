package token

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/urfave/cli/v2"

	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/cli/output"
	"tunnel/cli/statedir"
	"tunnel/control"
)

const (
	flagYAML      = "yaml"
	flagAdvertise = "advertise" // of connect
)

// errNoURL means that no client can be told where the server is.
var errNoURL = errors.New("nobody knows the URL by which clients reach the server")

// InviteCommand returns `tunnel invite`.
func InviteCommand() *cli.Command {
	return &cli.Command{
		Name:  "invite",
		Usage: "make a join token, and print what one machine needs to join",
		Description: "The first client that uses it gets a lasting credential, and no other client is " +
			"admitted.\nWhat goes to stdout has the token: give it away by a channel that is safe. " +
			"Examples,\nthe second for tunnel connect --config:\n\n" +
			"   sudo tunnel invite phone\n" +
			"   (umask 077; sudo tunnel invite office --route 192.168.7.0/24 --yaml > office.yaml)",
		ArgsUsage: "NAME",
		Flags: append(specFlags(joinLife, joinLife), &cli.BoolFlag{Name: flagYAML,
			Usage: "print a file for tunnel connect --config, and not a command"}, statedir.Flag()),
		OnUsageError: invocation.UsageError, HideHelpCommand: true,
		Action: func(c *cli.Context) error {
			if err := invocation.NoneEmpty(c); err != nil {
				return err
			}
			return invite(c)
		},
	}
}

func invite(c *cli.Context) error {
	name, err := tokenName(c)
	if err != nil {
		return err
	}
	spec, err := tokenSpec(c, name)
	if err != nil {
		return err
	}
	spec.Once = true
	output.KeepPipe() // a token that was made but not shown is reported below
	return withTokens(c, false, func(t tokens) error {
		join, err := t.Join(c.Context)
		if err == nil && join.URL == "" {
			err = failure.New(failure.StepUsage, errNoURL,
				"start the server, with --public HOST if it is behind a proxy or NAT")
		}
		if err != nil {
			return err
		}
		made, text, err := t.Create(c.Context, spec)
		if err != nil {
			return err
		}
		shown := invitation(join, text, spec.Routes, c.Bool(flagYAML))
		if _, err := fmt.Fprint(c.App.Writer, shown); err != nil {
			return notShown(name, err)
		}
		_, _ = fmt.Fprintf(c.App.ErrWriter, "made %s; it is shown this once\n", describe(made))
		return nil
	})
}

// invitation returns what a machine needs to join: a command, or a configuration file. behind are
// the networks that it is to offer.
func invitation(join control.Join, token string, behind []netip.Prefix, file bool) string {
	var texts []string
	for _, network := range behind {
		texts = append(texts, network.String())
	}
	offered := strings.Join(texts, ",")
	if !file {
		line := invocation.ConnectLine(join.URL, join.Pin, "--"+invocation.FlagToken, token)
		if offered != "" {
			line += " --" + flagAdvertise + " " + offered
		}
		return line + "\n"
	}
	text := "# tunnel connect --config FILE\nurl: " + join.URL + "\n"
	if join.Pin != "" {
		text += invocation.FlagPin + ": " + join.Pin + "\n"
	}
	if offered != "" {
		text += flagAdvertise + ": " + offered + "\n"
	}
	return text + invocation.FlagToken + ": " + token + "\n"
}
