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
			return failure.New(failure.StepUsage, err, "start it with --web 127.0.0.1:8444")
		case err != nil:
			return failure.New(failure.StepStatus, err, "see its log, and run as root")
		}
		_, _ = fmt.Fprint(c.App.ErrWriter, warning(made))
		_, err = fmt.Fprintln(c.App.Writer, made.URL)
		return err
	}
	return failure.New(failure.StepStatus, err, "start it with --web, or name its directory with "+
		"--state DIR, as root")
}

// warning returns lines about what the browser will warn of, "" if it will not.
func warning(l control.Link) string {
	if l.Name+l.Certificate == "" {
		return ""
	}
	text := "the browser will warn of a certificate that no authority has signed."
	if l.Name != "" {
		text = fmt.Sprintf("the browser will warn, because the certificate is for %s: if that leads "+
			"there, write it into the link.", l.Name)
	}
	if l.Certificate == "" {
		return text + "\n"
	}
	pin, _ := certs.ParsePin(l.Pin) // the client of the control socket has checked it
	return fmt.Sprintf("%s\nIts SHA-256 fingerprints must be\n%s (certificate)\n%s (public key)\n",
		text, strings.ToUpper(l.Certificate), strings.ToUpper(hex.EncodeToString(pin[:])))
}
