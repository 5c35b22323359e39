// Package web is the command `tunnel web`.
package web

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"tunnel/certs"
	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/cli/statedir"
	"tunnel/control"
)

// Command returns the command.
func Command() *cli.Command {
	return &cli.Command{
		Name:  "web",
		Usage: "print a link that logs in to the server's web page, once",
		Description: "For a server with --web. The link logs in one browser, within 10 minutes, " +
			"and the\nbrowser stays logged in for up to 12 hours. Example:\n\n" +
			"   sudo tunnel web",
		Flags:        []cli.Flag{statedir.Flag()},
		OnUsageError: invocation.UsageError, HideHelpCommand: true,
		Action: link,
	}
}

func link(c *cli.Context) error {
	if err := invocation.NoMore(c, 0); err != nil {
		return err
	}
	if err := invocation.NoneEmpty(c); err != nil {
		return err
	}
	var err error
	for _, dir := range statedir.Candidates(statedir.Chosen(c)) {
		var made control.Link
		made, err = control.NewClient(dir).Web(c.Context)
		switch {
		case errors.Is(err, control.ErrNoServer):
			continue
		case errors.Is(err, control.ErrRefused):
			return failure.New(failure.StepUsage, err, "start it with --web localhost:8444")
		case err != nil:
			return failure.New(failure.StepStatus, err, "see its log, and run as root")
		}
		if made.Pin != "" {
			_, _ = fmt.Fprintf(c.App.ErrWriter, "the browser will warn of a certificate that no "+
				"authority has signed. Its public key must have the SHA-256 fingerprint\n%s\n",
				fingerprint(made.Pin))
		}
		_, err = fmt.Fprintln(c.App.Writer, made.URL)
		return err
	}
	return failure.New(failure.StepStatus, err, "start it with --web, or name its directory with "+
		"--state DIR, as root")
}

// fingerprint returns a pin as browsers show it.
func fingerprint(text string) string {
	pin, _ := certs.ParsePin(text) // the client of the control socket has checked it
	return strings.ToUpper(hex.EncodeToString(pin[:]))
}
