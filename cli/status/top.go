package status

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/cli/output"
	"tunnel/cli/statedir"
	"tunnel/control"
)

const (
	flagOnce     = "once"
	flagInterval = "interval"
	flagSort     = "sort"
)

// TopCommand returns `tunnel top`.
func TopCommand() *cli.Command {
	return command(cli.Command{
		Name:  "top",
		Usage: "show which flows cross the tunnel, and how fast",
		Description: "Measures the flows of the clients of this network namespace, and of the server " +
			"of --state: who\n" +
			"sends to whom, the rate, how long packets wait to be sent, and how many are marked " +
			"(ECN) or dropped\n" +
			"meanwhile. On a terminal it goes on until Ctrl-C, else it shows one measurement. " +
			"Examples:\n\n" +
			"   sudo tunnel top\n" +
			"   sudo tunnel top --once --interval 5s --sort delay\n" +
			"   sudo tunnel top --json --dev tun0",
		Flags: []cli.Flag{
			devFlag(), statedir.Flag(), jsonFlag(),
			&cli.BoolFlag{Name: flagOnce, Usage: "show one measurement, also on a terminal"},
			&cli.DurationFlag{Name: flagInterval, Value: interval, Usage: fmt.Sprintf(
				"measure for this `TIME`, %v to %v", control.LeastMeasured, control.MostMeasured)},
			&cli.StringFlag{Name: flagSort, Value: "rate", Usage: "begin with the flows that have " +
				"most of `KEY`: " + strings.Join(sortKeys(), ", ")},
		},
	}, top)
}

func top(c *cli.Context) error {
	if err := invocation.NoMore(c, 0); err != nil {
		return err
	}
	q, err := chosen(c)
	if err != nil {
		return err
	}
	during, by := c.Duration(flagInterval), orders()[c.String(flagSort)]
	switch {
	case during < control.LeastMeasured || during > control.MostMeasured:
		return failure.Usage("--%s %v is not within %v to %v", flagInterval, during,
			control.LeastMeasured, control.MostMeasured)
	case by == nil:
		return failure.Usage("--%s %q: give one of %s", flagSort, c.String(flagSort),
			strings.Join(sortKeys(), ", "))
	}
	live := output.IsTerminal() && !c.Bool(flagOnce) && !c.Bool(flagJSON)
	if live {
		return refresh(c, q, during, by)
	}
	q.silent = complain(c)
	report, err := q.flows(c.Context, during)
	if interrupted(c) { // who reads the output must not take it for a measurement of nothing
		return failure.New(failure.StepStatus, errors.New("interrupted: nothing was measured"), "")
	}
	if err != nil {
		return err
	}
	if c.Bool(flagJSON) {
		return output.WriteJSON(c.App.Writer, report, true)
	}
	var text bytes.Buffer
	(&sheet{page: page{&text, output.IsColored()}, by: by}).report(report)
	_, err = c.App.Writer.Write(text.Bytes())
	return err
}

// What moves the cursor of a terminal (ECMA-48 section 8.3). None of it changes how the terminal
// works, so that there is nothing to restore, however the program ends.
const (
	toTop     = "\x1b[H"
	clearLine = "\x1b[K" // from the cursor on
	clearRest = "\x1b[J"
)

// refresh shows one measurement after another in the same place, until a signal. What ends after
// the first is shown in that place, too: it may come back.
func refresh(c *cli.Context, q question, during time.Duration, by order) error {
	said, first := "", true
	q.silent = func(err error) { said = "tunnel: " + failure.Of(err).Error() }
	for {
		columns, lines := output.Size()
		said = ""
		if first { // there is something to see at once
			if _, err := c.App.Writer.Write([]byte(toTop + clearRest + "measuring…\n")); err != nil {
				return err
			}
		}
		begin := time.Now()
		report, err := q.flows(c.Context, during)
		if interrupted(c) {
			return nil
		}
		if err != nil {
			if first {
				return err
			}
			q.silent(err)
		}
		first = false
		var text bytes.Buffer
		s := sheet{page: page{&text, output.IsColored()}, by: by, columns: columns,
			lines: max(lines-1, 1)}
		s.report(report)
		if said != "" {
			s.line(red, said)
		}
		if _, err := c.App.Writer.Write(inPlace(text.Bytes(), s.lines)); err != nil {
			return err
		}
		if early := during - time.Since(begin); early > 0 && !pause(c, early) { // nobody has measured
			return nil
		}
	}
}

// interrupted reports whether a signal has ended the command.
func interrupted(c *cli.Context) bool { return c.Err() != nil }

// inPlace returns what shows the first lines of text at the top of a terminal, in place of what is
// there.
func inPlace(text []byte, most int) []byte {
	var out bytes.Buffer
	out.WriteString(toTop)
	for line := range bytes.Lines(text) {
		if most == 0 {
			break
		}
		most--
		// cleared first: the cursor stays on the last character of a line that has all columns
		out.WriteString(clearLine)
		out.Write(line)
	}
	out.WriteString(clearRest)
	return out.Bytes()
}
