package cli

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"tunnel/auth"
	"tunnel/transport"
	"tunnel/tun"
)

const (
	flagDev         = "dev"
	flagMTU         = "mtu"
	flagQlen        = "qlen"
	flagToken       = "token"
	flagTokenFile   = "token-file"
	flagState       = "state"
	flagCongestion  = "congestion"
	flagDryRun      = "dry-run"
	flagLogLevel    = "log-level"
	flagLogFormat   = "log-format"
	defaultState    = "/var/lib/tunnel"
	defaultDev      = "tun0"
	categoryNetwork = "network"
	categoryServer  = "server"
	categoryHost    = "this machine"
)

// env names the environment variable of a flag.
func env(flag string) []string {
	return []string{"TUNNEL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))}
}

// unsetEmpty makes variables of ours that are empty count as not set, for every flag alike: urfave/cli takes them for
// an empty text, but for no number. Service managers and compose files write `TUNNEL_X=${X}` whether there is an X or not.
func unsetEmpty() { // but not a pin that came out empty, which must not mean any key
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		if value == "" && strings.HasPrefix(name, "TUNNEL_") && name != env(flagPin)[0] {
			_ = os.Unsetenv(name)
		}
	}
}

// commonFlags returns the flags that serve and connect share.
func commonFlags() []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: flagDev, Category: categoryHost, EnvVars: env(flagDev), Value: defaultDev, Usage: "`NAME` of the TUN device to make"},
		&cli.StringFlag{Name: flagToken, Category: categoryServer, EnvVars: env(flagToken), Usage: "shared `SECRET`, at least 16 bytes; other users of this machine may see it, better use --token-file"},
		&cli.StringFlag{Name: flagTokenFile, Category: categoryServer, EnvVars: env(flagTokenFile), TakesFile: true, Usage: "`FILE` with the shared secret"},
		&cli.StringFlag{Name: flagCongestion, Category: categoryServer, EnvVars: env(flagCongestion), Value: transport.CongestionAuto, Usage: "TCP congestion `CONTROL` of the tunnel's connection: auto (BBR on a long way, else the system's), or a name that this kernel has"},
		&cli.StringFlag{Name: flagState, Category: categoryHost, EnvVars: env(flagState), Value: defaultState, TakesFile: true, Usage: "`DIR` for what is kept between runs"},
		&cli.BoolFlag{Name: flagDryRun, Category: categoryHost, EnvVars: env(flagDryRun), Usage: "print the ip commands that would run, and change nothing"},
	}, append(sandboxFlags(), logFlags()...)...)
}

// logFlags returns the flags of the log on stderr.
func logFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: flagLogLevel, Category: categoryHost, EnvVars: env(flagLogLevel), Value: "info", Usage: "least `LEVEL` to log: debug, info, warn or error"},
		&cli.StringFlag{Name: flagLogFormat, Category: categoryHost, EnvVars: env(flagLogFormat), Value: "text", Usage: "`FORMAT` of the log on stderr: text or json"},
	}
}

// flagsFirst moves the flags behind `connect URL` and `token create NAME` in front of the URL and the name: urfave/cli stops
// looking for flags at the first argument, and people write them behind it.
func flagsFirst(app *cli.App, args []string) []string {
	if len(args) < 3 || args[len(args)-1] == "--generate-bash-completion" {
		return args
	}
	before, command := args[:2], app.Command(args[1])
	switch {
	case args[1] == "token" && command.Command(args[2]) != nil:
		before, command = args[:3], command.Command(args[2])
	case args[1] != "connect":
		return args
	}
	takesValue := map[string]bool{}
	for _, f := range command.Flags {
		_, isBool := f.(*cli.BoolFlag)
		for _, name := range f.Names() {
			takesValue[name] = !isBool
		}
	}
	var flags, rest []string
	for words := args[len(before):]; len(words) > 0; words = words[1:] {
		word := words[0]
		if word == "--" {
			rest = append(rest, words[1:]...)
			break
		}
		if len(word) < 2 || word[0] != '-' {
			rest = append(rest, word)
			continue
		}
		flags = append(flags, word)
		name := strings.TrimLeft(word, "-")
		if name == "help" || name == "h" { // urfave/cli takes an argument behind it for a command to explain
			return append(slices.Clone(before), word)
		}
		if !takesValue[name] {
			continue
		}
		if len(words) == 1 { // urfave/cli shall say that the value is missing, and not take the "--" below for it
			return append(slices.Clone(before), flags...)
		}
		words = words[1:]
		flags = append(flags, words[0])
	}
	sorted := append(slices.Clone(before), flags...)
	return append(append(sorted, "--"), rest...)
}

// fromEnv tells whether a flag has its value from the environment: urfave/cli does not tell. One that stands on the
// command line with the very same value counts as from there.
func fromEnv(c *cli.Context, flag string) bool { return c.String(flag) == os.Getenv(env(flag)[0]) }

// token returns the shared secret, "" if none was given.
func token(c *cli.Context) (string, error) {
	secret, file := c.String(flagToken), c.String(flagTokenFile)
	if secret != "" && file != "" {
		// One that stands on the command line goes before the other's variable.
		switch tokenFromEnv, fileFromEnv := fromEnv(c, flagToken), fromEnv(c, flagTokenFile); {
		case tokenFromEnv == fileFromEnv:
			return "", usage("--token and --token-file contradict each other: give one")
		case tokenFromEnv:
			secret = ""
		default:
			file = ""
		}
	}
	if file != "" {
		data, err := readInput(c, flagTokenFile)
		if err != nil {
			return "", usage("--token-file: %w", err)
		}
		if secret = strings.TrimSpace(string(data)); secret == "" {
			return "", usage("--token-file %s is empty: make a token with %s", file, makeToken)
		}
	}
	if secret == "" {
		return "", nil
	}
	if len(secret) < auth.MinTokenLen {
		return "", usage("the token is shorter than %d bytes, it could be guessed: make one with %s", auth.MinTokenLen, makeToken)
	}
	if strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", usage("the token has bytes that no HTTP header can carry: make one with %s", makeToken)
	}
	return secret, nil
}

// makeToken is a command that any Debian machine can run.
const makeToken = "`(umask 077; head -c 24 /dev/urandom | base64 > token)`"

// logger returns the log on stderr.
func logger(c *cli.Context) (*slog.Logger, error) {
	var options slog.HandlerOptions
	var level slog.Level
	text := c.String(flagLogLevel)
	if err := level.UnmarshalText([]byte(text)); err != nil || strings.ContainsAny(text, "+-") {
		return nil, usage("--log-level %s is none of debug, info, warn, error", text)
	}
	options.Level = level
	switch format := c.String(flagLogFormat); format {
	case "text":
		return slog.New(slog.NewTextHandler(c.App.ErrWriter, &options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(c.App.ErrWriter, &options)), nil
	default:
		return nil, usage("--log-format %s is neither text nor json", format)
	}
}

// checkDevice checks the flags of the device. zero tells whether MTU and qlen may be 0, for "not given".
func checkDevice(c *cli.Context, zero bool) error {
	if err := tun.CheckName(c.String(flagDev)); err != nil {
		return usage("--dev: %w", err)
	}
	mtu, qlen := c.Int(flagMTU), c.Int(flagQlen)
	if (mtu < transport.MinMTU || mtu > transport.MaxMTU) && !(zero && mtu == 0) {
		return usage("--mtu %d is not within %d to %d", mtu, transport.MinMTU, transport.MaxMTU)
	}
	if (qlen < 1 || qlen > transport.MaxQlen) && !(zero && qlen == 0) {
		return usage("--qlen %d is not within 1 to %d", qlen, transport.MaxQlen)
	}
	return nil
}

// checkCongestion refuses a congestion control that this process cannot have.
func checkCongestion(c *cli.Context) error {
	name := c.String(flagCongestion)
	if name == transport.CongestionAuto || transport.HasCongestion(name) {
		return nil
	}
	return usage("--congestion %s: this kernel does not have it, or not for this user: see net.ipv4.tcp_allowed_congestion_control", name)
}

// noMore refuses arguments that a command does not take.
func noMore(c *cli.Context, most int) error {
	if c.NArg() > most {
		return fail(stepUsage, fmt.Errorf("unexpected argument %q", c.Args().Get(most)), "see `"+c.Command.HelpName+" --help`")
	}
	return nil
}
