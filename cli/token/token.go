// Package token is the command `tunnel token`.
package token

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"tunnel/auth"
	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/cli/output"
	"tunnel/cli/statedir"
	"tunnel/config"
	"tunnel/control"
	"tunnel/server"
	"tunnel/state"
)

// chosenState returns that of a command with a flag of its own.
func chosenState(c *cli.Context) statedir.Choice {
	return statedir.Choice{Dir: c.String(invocation.FlagState),
		Given: c.IsSet(invocation.FlagState)}
}

const (
	flagAddress     = "address"
	flagMaxSessions = "max-sessions"
	flagRoute       = "route"
	flagExpires     = "expires"
	flagOnce        = "once"
	flagCertCN      = "cert-cn"
)

// joinLife is the default lifetime of a join token.
const joinLife = time.Hour

// maxLife is the longest --expires; beyond that only never.
const maxLife = 100 * 365 * 24 * time.Hour

// Command returns the command.
func Command() *cli.Command {
	// Only --state has an environment variable: TUNNEL_ADDRESS and others have another meaning for
	// connect.
	keep := &cli.StringFlag{Name: invocation.FlagState,
		EnvVars: invocation.Variable(invocation.FlagState), Value: invocation.DefaultState,
		TakesFile: true, Usage: "`DIR` of the server"}
	sub := func(name, usage, args, description string, action cli.ActionFunc,
		flags ...cli.Flag) *cli.Command {
		return &cli.Command{
			Name: name, Usage: usage, ArgsUsage: args, Description: description,
			Flags:        append(flags, keep),
			OnUsageError: invocation.UsageError, HideHelpCommand: true, Action: action,
		}
	}
	return &cli.Command{
		Name:  "token",
		Usage: "manage who may connect: create, list, revoke",
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
				&cli.StringFlag{Name: flagAddress,
					Usage: "reserve this `ADDRESS` of the network for it"},
				&cli.StringSliceFlag{Name: flagRoute,
					Usage: "let its client send from and receive for this `PREFIX`; may be given " +
						"several times"},
				&cli.StringFlag{Name: flagExpires,
					Usage: "`TIME` until it expires, like 10m, 12h or 90d, or never (default: " +
						"never, with --once 1h)"},
				&cli.StringFlag{Name: flagCertCN,
					Usage: "require a client certificate whose subject has the common name " +
						"`NAME`, for a server with --client-ca"},
				&cli.IntFlag{Name: flagMaxSessions,
					Usage: "largest `NUMBER` of clients that it admits at once; 0 is no limit " +
						"(default: that of serve --max-sessions)"},
				&cli.BoolFlag{Name: flagOnce,
					Usage: "make a join token: the first client that uses it gets a lasting " +
						"credential, and no other client is admitted"},
			),
			sub("list", "show all tokens and who is connected", "",
				"Example:\n\n   sudo tunnel token list", tokenList),
			sub("revoke", "revoke a token, and end every session that uses it", "NAME",
				"Example:\n\n   sudo tunnel token revoke laptop", tokenRevoke),
		},
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
			return failure.New(failure.StepOutput,
				fmt.Errorf("token %q was made and could not be shown: %w", name,
					errors.Unwrap(err)),
				"run `tunnel token revoke "+name+"`, and make another")
		}
		return nil
	})
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
		return "", failure.Usage("which token? tunnel token %s NAME", c.Command.Name)
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
	for _, text := range c.StringSlice(flagRoute) {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return spec, failure.Usage("--route %s is not a prefix like 192.168.7.0/24", text)
		}
		if prefix != prefix.Masked() {
			return spec, failure.Usage("--route %s has host bits set, its prefix is %s", text,
				prefix.Masked())
		}
		spec.Routes = append(spec.Routes, prefix)
	}
	if spec.CertCN = c.String(flagCertCN); spec.CertCN == "" && c.IsSet(flagCertCN) {
		return spec, failure.Usage("--cert-cn is empty: any certificate would do")
	}
	if c.IsSet(flagMaxSessions) {
		n := c.Int(flagMaxSessions)
		if n < 0 || n > auth.MaxSessions {
			return spec, failure.Usage("--%s %d is not within 0 to %d", flagMaxSessions, n,
				auth.MaxSessions)
		}
		spec.MaxSessions = &n
	}
	life, err := lifetime(c.String(flagExpires))
	if err != nil {
		return spec, err
	}
	if !c.IsSet(flagExpires) && spec.Once {
		life = joinLife
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

func tokenList(c *cli.Context) error {
	if err := invocation.NoMore(c, 0); err != nil {
		return err
	}
	return withTokens(c, false, func(t tokens) error {
		all, err := t.List(c.Context)
		if err != nil {
			return err
		}
		return printTokens(c.App.Writer, all)
	})
}

func printTokens(w io.Writer, all []server.TokenStatus) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table,
		"NAME\tKIND\tADDRESS\tROUTES\tMAX SESSIONS\tEXPIRES\tCERT CN\tCREATED\tLAST "+
			"USED\tCONNECTED")
	for _, t := range all {
		address, routes, sessions, expires, used, live := "-", "-", maxSessionsText(t.Token),
			"never", "never", "-"
		certCN := cmp.Or(t.CertCN, "-")
		if t.Address.IsValid() {
			address = t.Address.String()
		}
		if len(t.Routes) > 0 {
			routes = joined(t.Routes)
		}
		if !t.Expires.IsZero() {
			expires = moment(t.Expires)
		}
		if t.Expired(time.Now()) {
			expires = "expired"
		}
		if !t.Used.IsZero() {
			used = moment(t.Used)
		}
		if len(t.Sessions) > 0 {
			var clients []string
			for _, s := range t.Sessions {
				clients = append(clients, fmt.Sprintf("%s from %s", s.Address, s.Remote))
			}
			live = strings.Join(clients, ", ")
		}
		cells := []string{t.Name, string(t.Kind), address, routes, sessions, expires, certCN,
			moment(t.Created), used, live}
		for i := range cells { // a compromised server may send anything
			cells[i] = failure.Printable(cells[i])
		}
		_, _ = fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	return table.Flush()
}

// maxSessionsText returns how many clients a token admits at once; "-" is the server's limit.
func maxSessionsText(t auth.Token) string {
	switch {
	case t.Sole():
		return "1"
	case t.MaxSessions == nil:
		return "-"
	case *t.MaxSessions == 0:
		return "any"
	}
	return strconv.Itoa(*t.MaxSessions)
}

func joined(prefixes []netip.Prefix) string {
	var all []string
	for _, p := range prefixes {
		all = append(all, p.String())
	}
	return strings.Join(all, ",")
}

func moment(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

// tokens manages the tokens of a state directory: through the server that runs there, or in the
// file.
type tokens interface {
	List(context.Context) ([]server.TokenStatus, error)
	Create(context.Context, auth.Spec) (auth.Token, string, error)
	Revoke(context.Context, string) error
}

// withTokens calls f with the tokens of --state. A running server has the file locked and is asked;
// one that is just starting or stopping is waited for. If there is no state yet it is created if
// create is set, with a line on stderr, because --state may be mistyped.
func withTokens(c *cli.Context, create bool, f func(tokens) error) error {
	use := statedir.Find
	if create {
		use = statedir.Make
	}
	dir, err := statedir.ForTokens(c, chosenState(c), use)
	if err != nil {
		return err
	}
	told := false
	for until := time.Now().Add(tokenPatience); ; {
		err := f(control.NewClient(dir))
		if !errors.Is(err, control.ErrNoServer) {
			return tokenFailure(err)
		}
		if _, err := os.Lstat(filepath.Join(dir, statedir.FileName)); errors.Is(err,
			os.ErrNotExist) && !told {
			if !create {
				return failure.New(failure.StepState,
					fmt.Errorf("%s has no %s: it is not a server's state", dir, statedir.FileName),
					statedir.AdviceServer)
			}
			_, _ = fmt.Fprintf(c.App.ErrWriter,
				"there is no state in %s yet: making a new one, for a server with this --state\n",
				dir)
			told = true
		}
		file, err := statedir.OpenFile(state.Try, dir)
		if err == nil {
			defer func() { _ = file.Close() }()
			store, err := auth.Open(file.Bucket(statedir.BucketTokens))
			if err != nil {
				return err
			}
			return tokenFailure(f(localTokens{store}))
		}
		if !errors.Is(err, state.ErrLocked) || time.Now().After(until) {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-c.Done():
			return nil
		}
	}
}

// tokenPatience is how long withTokens waits for a server that has locked the file and does not
// answer.
const tokenPatience = 5 * time.Second

// tokenFailure gives an error about tokens its step: a wrong request, or a failure to perform it.
func tokenFailure(err error) error {
	if err == nil {
		return nil
	}
	for _, e := range []error{auth.ErrName, auth.ErrExists, auth.ErrUnknown, auth.ErrSpec,
		control.ErrRefused} {
		if errors.Is(err, e) {
			return failure.New(failure.StepUsage, err, "see `tunnel token list`")
		}
	}
	if step := failure.Of(err).Step; step == failure.StepState || step == failure.StepOutput {
		return err
	}
	return failure.New(failure.StepState, err,
		"see the server's log, and run as root or as the server's user")
}

// localTokens are the tokens in a file that no server has open.
type localTokens struct{ store *auth.Store }

func (l localTokens) List(context.Context) (all []server.TokenStatus, _ error) {
	for _, t := range l.store.List() {
		all = append(all, server.TokenStatus{Token: t})
	}
	return all, nil
}

func (l localTokens) Create(_ context.Context, spec auth.Spec) (auth.Token, string, error) {
	return l.store.Create(spec, nil) // serve checks it against its network
}

func (l localTokens) Revoke(_ context.Context, name string) error {
	_, err := l.store.Revoke(name)
	return err
}
