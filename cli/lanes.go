package cli

import (
	"github.com/urfave/cli/v2"

	"tunnel/transport"
)

const (
	flagLanes    = "lanes"
	flagMaxLanes = "max-lanes"
)

// connectLanesFlags returns the flag of connect about how many connections a session has.
func connectLanesFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: flagLanes, Category: categoryServer, EnvVars: env(flagLanes), Value: 1, Usage: "`NUMBER` of connections to share the packets, 1 to 16, if the server allows so many"},
	}
}

// serveLanesFlags returns that of serve.
func serveLanesFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: flagMaxLanes, Category: categoryServer, EnvVars: env(flagMaxLanes), Value: 4, Usage: "most connections that one client may have at once, a `NUMBER` from 1 to 16"},
	}
}

// checkLanes checks the value of either flag.
func checkLanes(c *cli.Context, flag string) error {
	if n := c.Int(flag); n < 1 || n > transport.MaxLanes {
		return usage("--%s %d is not within 1 to %d", flag, n, transport.MaxLanes)
	}
	return nil
}
