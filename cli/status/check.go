package status

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"tunnel/cli/failure"
)

// check prints a line for each client or server of q that runs, and returns why the packets of some
// cannot cross: they have no session, are not reachable, or do not answer.
func check(c *cli.Context, q question) error {
	if c.Bool(flagJSON) || c.Bool(flagWatch) {
		return failure.Usage("--%s goes with neither --%s nor --%s", flagCheck, flagJSON, flagWatch)
	}
	var failed error
	q.silent = func(err error) { failed = errors.Join(failed, err) }
	report, err := q.ask(c.Context)
	if err != nil {
		return err
	}
	say := func(what string, err error, well string) {
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", what, err))
			return
		}
		_, _ = fmt.Fprintln(c.App.Writer, failure.Printable(what+": "+well))
	}
	for _, client := range report.Clients {
		say("client "+client.Dev, client.Ready(), "connected")
	}
	if report.Hub != nil {
		say("server "+report.Hub.Dev, report.Hub.Ready(), "clients can be reached")
	}
	if failed != nil {
		return failure.New(failure.StepStatus, failed, "see `tunnel status`")
	}
	return nil
}
