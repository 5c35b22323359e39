package cli

import (
	"github.com/urfave/cli/v2"

	"tunnel/auth"
	"tunnel/lease"
)

const (
	flagMaxSessions = "max-sessions"
	flagLeaseHold   = "lease-hold"
)

// defaultMaxSessions is how many clients one token lets in at once.
const defaultMaxSessions = 8

// sessionFlags returns the flags of serve about what one token, or one client, may take from others.
func sessionFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: flagMaxSessions, Category: categoryServer, EnvVars: env(flagMaxSessions), Value: defaultMaxSessions, Usage: "most clients that one token lets in at once, a `NUMBER`; 0 is no limit. token create --max-sessions goes before it"},
		&cli.DurationFlag{Name: flagLeaseHold, Category: categoryNetwork, EnvVars: env(flagLeaseHold), Value: lease.DefaultHold, Usage: "`TIME` for which an address that a client has left cannot be asked for by another, at least " + lease.Rest.String()},
	}
}

// checkSessions checks the flags of sessionFlags.
func checkSessions(c *cli.Context) error {
	if err := checkMaxSessions(c); err != nil {
		return err
	}
	if d := c.Duration(flagLeaseHold); d < lease.Rest {
		return usage("--%s %v is less than %v: for so long no address changes hands", flagLeaseHold, d, lease.Rest)
	}
	return nil
}

// checkMaxSessions checks --max-sessions, of serve and of token create.
func checkMaxSessions(c *cli.Context) error {
	if n := c.Int(flagMaxSessions); n < 0 || n > auth.MaxSessions {
		return usage("--%s %d is not within 0 to %d", flagMaxSessions, n, auth.MaxSessions)
	}
	return nil
}
