package cli

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"tunnel/config"
	"tunnel/config/setting"
)

// The flags whose names this package says, or reads for commands that have no table of settings.
const (
	flagToken     = "token"
	flagTokenFile = "token-file"
	flagPin       = "pin"
	flagState     = "state"
	flagNetwork   = "network"
	flagConfig    = "config"
	defaultState  = "/var/lib/tunnel"
)

// env names the environment variable of a flag.
func env(flag string) []string { return []string{(&setting.Setting{Name: flag}).Variable()} }

// settingFlag is the flag of a setting. The environment is config's to read.
type settingFlag struct {
	*cli.GenericFlag

	setting *setting.Setting
}

// settingFlags returns the flags of a table of settings.
func settingFlags(settings []*setting.Setting) (flags []cli.Flag) {
	for _, s := range settings {
		if s.Argument {
			continue
		}
		flags = append(flags, &settingFlag{setting: s, GenericFlag: &cli.GenericFlag{
			Name: s.Name, Category: s.Category, Usage: s.Usage, DefaultText: s.Shown(), TakesFile: s.Input || s.Path,
			Value: &given{isSwitch: s.Kind() == setting.Switch},
		}})
	}
	return flags
}

// TakesValue implements cli.DocGenerationFlag.
func (f *settingFlag) TakesValue() bool { return f.setting.Kind() != setting.Switch }

// GetEnvVars implements cli.DocGenerationFlag.
func (f *settingFlag) GetEnvVars() []string { return env(f.Name) }

// String is the line of a help text.
func (f *settingFlag) String() string { return cli.FlagStringer(f) }

// plain returns the flag as one of urfave/cli's own types, by which that knows which takes a file.
func (f *settingFlag) plain() cli.Flag {
	if !f.TakesValue() {
		return &cli.BoolFlag{Name: f.Name, Usage: f.Usage}
	}
	return f.GenericFlag
}

// given collects what the command line says of a flag.
type given struct {
	texts    []string
	isSwitch bool
}

// Set implements flag.Value. What the text means is config's to say.
func (g *given) Set(text string) error {
	g.texts = append(g.texts, text)
	return nil
}

// String implements flag.Value.
func (*given) String() string { return "" }

// IsBoolFlag reports whether the flag may stand without a value, as package flag asks.
func (g *given) IsBoolFlag() bool { return g.isSwitch }

// givenFlags returns what the command line says, by the names of the flags.
func givenFlags(c *cli.Context) map[string][]string {
	all := map[string][]string{}
	for _, f := range c.Command.Flags {
		s, ok := f.(*settingFlag)
		if !ok {
			continue
		}
		if g, ok := s.Value.(*given); ok && len(g.texts) > 0 {
			all[s.Name] = g.texts
		}
	}
	return all
}

// flagsFirst moves the flags behind the arguments of a command, as of `connect URL` and `token create NAME`, in front of
// them: urfave/cli stops looking for flags at the first argument, and people write them behind it.
func flagsFirst(app *cli.App, args []string) []string {
	if len(args) < 3 || args[len(args)-1] == "--generate-bash-completion" {
		return args
	}
	before, command := args[:2], app.Command(args[1])
	for command != nil && len(command.Subcommands) > 0 && len(args) > len(before) {
		command, before = command.Command(args[len(before)]), args[:len(before)+1]
	}
	if command == nil || command.ArgsUsage == "" {
		return args
	}
	takesValue := map[string]bool{}
	for _, f := range command.Flags {
		described, ok := f.(cli.DocGenerationFlag)
		for _, name := range f.Names() {
			takesValue[name] = ok && described.TakesValue()
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

// token returns the shared secret of a configuration, "" if none was given.
func (i *invocation) token() (string, error) {
	if i.common.TokenFile == "" {
		return i.common.Token, nil
	}
	data, err := i.readInput(flagTokenFile)
	if err != nil {
		return "", usage("--token-file: %w", err)
	}
	secret := strings.TrimSpace(string(data))
	if secret == "" {
		return "", usage("--token-file %s is empty: make a token with %s", i.common.TokenFile, config.MakeToken)
	}
	if err := config.CheckToken(secret); err != nil {
		return "", usage("%w", err)
	}
	return secret, nil
}

// logger returns the log on stderr.
func logger(c *cli.Context, told config.Log) *slog.Logger {
	handler := func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewTextHandler(w, o) }
	if told.Format == "json" {
		handler = func(w io.Writer, o *slog.HandlerOptions) slog.Handler { return slog.NewJSONHandler(w, o) }
	}
	outputOf(c).noticeDropped(handler)
	return slog.New(handler(c.App.ErrWriter, &slog.HandlerOptions{Level: told.Level}))
}

// noMore refuses arguments that a command does not take.
func noMore(c *cli.Context, most int) error {
	if c.NArg() > most {
		return fail(stepUsage, fmt.Errorf("unexpected argument %q", c.Args().Get(most)), "see `"+c.Command.HelpName+" --help`")
	}
	return nil
}
