// Package token is the command `tunnel token`.
package token

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"tunnel/auth"
	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/cli/output"
	"tunnel/cli/statedir"
	"tunnel/config"
	"tunnel/control"
)

const (
	flagAddress     = "address"
	flagMaxSessions = "max-sessions"
	flagRoute       = "route"
	flagPushRoute   = "push-route"
	flagDNS         = "dns"
	flagDNSDomain   = "dns-domain"
	flagExpires     = "expires"
	flagOnce        = "once"
	flagCertCN      = "cert-cn"
)

// joinLife is the default lifetime of a join token.
const joinLife = "1h"

// maxLife is the longest --expires; beyond that only never.
const maxLife = 100 * 365 * 24 * time.Hour

// Command returns the command.
func Command() *cli.Command {
	sub := func(name, usage, args, description string, action cli.ActionFunc,
		flags ...cli.Flag) *cli.Command {
		return &cli.Command{
			Name: name, Usage: usage, ArgsUsage: args, Description: description,
			Flags:        append(flags, statedir.Flag()),
			OnUsageError: invocation.UsageError, HideHelpCommand: true,
			Action: func(c *cli.Context) error {
				if err := invocation.NoneEmpty(c); err != nil {
					return err
				}
				return action(c)
			},
		}
	}
	return &cli.Command{
		Name:  "token",
		Usage: "manage who may connect: create, set, list, revoke",
		Description: "Works on the server's --state, whether the server runs or not. Example:\n\n" +
			"   (umask 077; sudo tunnel token create laptop > token)",
		OnUsageError:    invocation.UsageError,
		HideHelpCommand: true,
		Action:          invocation.NoAction("token "),
		Subcommands: []*cli.Command{
			sub("create", "make a token and print it once", "NAME",
				"The token alone goes to stdout. Only a hash of it is kept. Examples:\n\n"+
					"   (umask 077; sudo tunnel token create laptop > token)\n"+
					"   sudo tunnel token create --once --expires 10m phone", tokenCreate,
				append(specFlags("", "never, with --once "+joinLife), &cli.BoolFlag{Name: flagOnce,
					Usage: "make a join token: the first client that uses it gets a lasting " +
						"credential, and no other client is admitted"})...,
			),
			sub("set", "change a token; connected clients are told", "NAME",
				"What is not given stays as it is. Examples:\n\n"+
					"   sudo tunnel token set laptop --push-route 192.168.7.0/24\n"+
					"   sudo tunnel token set site --route none", tokenSet,
				&cli.StringSliceFlag{Name: flagRoute,
					Usage: "let its client carry the network `PREFIX` behind it, and no other; " +
						"may be given several times; none is none"},
				&cli.StringSliceFlag{Name: flagPushRoute,
					Usage: "let its clients reach the network `PREFIX` behind the server, and no " +
						"other beside those of serve --push-route; may be given several times; " +
						"none is none"},
				&cli.StringSliceFlag{Name: flagDNS,
					Usage: "tell its clients of the DNS server `ADDRESS`, in place of those of " +
						"serve --dns; may be given several times; none is those of serve"},
				&cli.StringSliceFlag{Name: flagDNSDomain,
					Usage: "tell its clients that their DNS servers know the names in `DOMAIN`, and " +
						"in no other beside those of serve --dns-domain; may be given several " +
						"times; none is none"},
			),
			sub("list", "show all tokens and who is connected", "",
				"Example:\n\n   sudo tunnel token list", tokenList),
			sub("revoke", "revoke a token, and end every session that uses it", "NAME",
				"Example:\n\n   sudo tunnel token revoke laptop", tokenRevoke),
		},
	}
}

// specFlags returns the flags that tokenSpec reads, with the default of --expires and what is said
// of it.
func specFlags(expires, text string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: flagAddress,
			Usage: "reserve this `ADDRESS` of the network for it"},
		&cli.StringSliceFlag{Name: flagRoute,
			Usage: "let its client carry the network `PREFIX` behind it; may be given " +
				"several times"},
		&cli.StringSliceFlag{Name: flagPushRoute,
			Usage: "let its clients reach the network `PREFIX` behind the server, beside " +
				"those of serve --push-route; may be given several times"},
		&cli.StringSliceFlag{Name: flagDNS,
			Usage: "tell its clients of the DNS server `ADDRESS`, in place of those of " +
				"serve --dns; may be given several times, best first"},
		&cli.StringSliceFlag{Name: flagDNSDomain,
			Usage: "tell its clients that their DNS servers know the names in `DOMAIN`, " +
				"beside those of serve --dns-domain; may be given several times"},
		&cli.StringFlag{Name: flagExpires,
			Value: expires, DefaultText: text,
			Usage: "`TIME` until it expires, like 10m, 12h or 90d, or never"},
		&cli.StringFlag{Name: flagCertCN,
			Usage: "require a client certificate whose subject has the common name " +
				"`NAME`, for a server with --client-ca"},
		&cli.IntFlag{Name: flagMaxSessions,
			DefaultText: "that of serve --max-sessions",
			Usage:       "largest `NUMBER` of clients that it admits at once; 0 is no limit"},
	}
}

func tokenCreate(c *cli.Context) error {
	name, err := tokenName(c)
	if err != nil {
		return err
	}
	spec, err := tokenSpec(c, name)
	if err != nil {
		return err
	}
	output.KeepPipe() // a token that was made but not shown is reported below
	return withTokens(c, true, func(t tokens) error {
		made, text, err := t.Create(c.Context, spec)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(c.App.ErrWriter,
			"made %s; it is shown this once, give it to the client with --token-file\n",
			describe(made))
		if _, err = fmt.Fprintln(c.App.Writer, text); err != nil {
			return notShown(name, err)
		}
		if join, err := t.Join(c.Context); err == nil { // an older server does not know it
			printJoin(c.App.ErrWriter, join, text)
		}
		return nil
	})
}

// notShown is the failure of a token that was made and not written to stdout.
func notShown(name string, err error) error {
	return failure.New(failure.StepOutput,
		fmt.Errorf("token %q was made and could not be shown: %w", name, errors.Unwrap(err)),
		"run `tunnel token revoke "+name+"`, and make another")
}

// printJoin prints the command that joins a machine, if the server knows its URL. A secret that
// stdout does not show on a terminal is not shown here: stderr may be a log.
func printJoin(w io.Writer, join control.Join, token string) {
	if join.URL == "" {
		return
	}
	credential := []string{"--" + invocation.FlagTokenFile, "FILE"}
	if _, err := unix.IoctlGetTermios(1, unix.TCGETS); err == nil {
		credential = []string{"--" + invocation.FlagToken, token}
	}
	_, _ = fmt.Fprintf(w, "to join, run on another machine:\n%s\n",
		invocation.ConnectLine(join.URL, join.Pin, credential...))
}

// describe describes a token.
func describe(t auth.Token) string {
	what := fmt.Sprintf("token %q", t.Name)
	if t.Kind == auth.KindJoin {
		what = fmt.Sprintf("join token %q, for one client", t.Name)
	}
	if !t.Expires.IsZero() {
		what += ", until " + moment(t.Expires)
	}
	return what
}

// tokenName returns the only argument of a command, a token's name.
func tokenName(c *cli.Context) (string, error) {
	if err := invocation.NoMore(c, 1); err != nil {
		return "", err
	}
	name := c.Args().First()
	if name == "" {
		return "", failure.Usage("which token? %s NAME", c.Command.HelpName)
	}
	if err := auth.CheckName(name); err != nil {
		return "", failure.Usage("%w", err)
	}
	return name, nil
}

// tokenSpec returns the token that the flags describe.
func tokenSpec(c *cli.Context, name string) (spec auth.Spec, err error) {
	spec = auth.Spec{Name: name, Once: c.Bool(flagOnce)}
	if spec.Address, err = config.ParseAddress(c.String(flagAddress)); err != nil {
		return spec, failure.Usage("--address%w", err)
	}
	if spec.Routes, err = prefixes(c, flagRoute); err != nil {
		return spec, err
	}
	if spec.PushRoutes, err = prefixes(c, flagPushRoute); err != nil {
		return spec, err
	}
	if spec.DNS, err = dnsServers(c, flagDNS); err != nil {
		return spec, err
	}
	if spec.Domains, err = dnsDomains(c, flagDNSDomain); err != nil {
		return spec, err
	}
	spec.CertCN = c.String(flagCertCN)
	if c.IsSet(flagMaxSessions) {
		n := c.Int(flagMaxSessions)
		if n < 0 || n > auth.MaxSessions {
			return spec, failure.Usage("--%s %d is not within 0 to %d", flagMaxSessions, n,
				auth.MaxSessions)
		}
		spec.MaxSessions = &n
	}
	expires := c.String(flagExpires)
	if expires == "" && spec.Once {
		expires = joinLife
	}
	life, err := lifetime(expires)
	if err != nil {
		return spec, err
	}
	if life != 0 {
		spec.Expires = time.Now().Add(life)
	}
	return spec, nil
}

// lifetime parses --expires; 0 is never.
func lifetime(text string) (time.Duration, error) {
	if text == "" || text == "never" {
		return 0, nil
	}
	life, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		if n, err = strconv.ParseUint(days, 10, 16); err == nil {
			life = time.Duration(n) * 24 * time.Hour
		}
	}
	if err != nil || life <= 0 || life > maxLife {
		return 0, failure.Usage("--expires %s is neither a time like 10m, 12h or 90d nor never",
			text)
	}
	return life, nil
}

func tokenRevoke(c *cli.Context) error {
	name, err := tokenName(c)
	if err != nil {
		return err
	}
	return withTokens(c, false, func(t tokens) error {
		if err := t.Revoke(c.Context, name); err != nil {
			return err
		}
		_, err := fmt.Fprintf(c.App.Writer, "revoked %s\n", name)
		return err
	})
}
