package statedir

import (
	"github.com/urfave/cli/v2"

	"tunnel/cli/invocation"
	"tunnel/config"
)

// Flag returns the flag of the server's directory, for commands other than `serve`. Only this flag
// of theirs has an environment variable: TUNNEL_ADDRESS and others have another meaning for
// `connect`.
func Flag() cli.Flag {
	return &cli.StringFlag{Name: invocation.FlagState,
		EnvVars: invocation.Variable(invocation.FlagState), Value: config.DefaultState,
		TakesFile: true, Usage: "`DIR` of the server"}
}

// Chosen returns the value of Flag.
func Chosen(c *cli.Context) Choice {
	return Choice{Dir: c.String(invocation.FlagState), Given: c.IsSet(invocation.FlagState)}
}
