// Package invocation is one call of the program: flags, configuration, the files that flags name,
// and which process this is.
package invocation

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"tunnel/cli/failure"
	"tunnel/config"
	"tunnel/config/setting"
)

// Flags that code reads by name.
const (
	FlagToken     = "token"
	FlagTokenFile = "token-file"
	FlagPin       = "pin"
	FlagState     = "state"
	flagNetwork   = "network"
	FlagConfig    = "config"
)

// Variable returns the name of a flag's environment variable, for urfave/cli.
func Variable(flag string) []string { return []string{(&setting.Setting{Name: flag}).Variable()} }

// Flag is the flag of a setting. Package config reads the environment.
type Flag struct {
	*cli.GenericFlag

	setting *setting.Setting
}

// Flags returns the flags of a table of settings.
func Flags(settings []*setting.Setting) (flags []cli.Flag) {
	for _, s := range settings {
		if s.Argument {
			continue
		}
		flags = append(flags, &Flag{setting: s, GenericFlag: &cli.GenericFlag{
			Name: s.Name, Category: s.Category, Usage: s.Usage, DefaultText: s.Shown(),
			TakesFile: s.Input || s.Path,
			Value:     &given{isSwitch: s.Kind() == setting.Switch},
		}})
	}
	return flags
}

// TakesValue implements cli.DocGenerationFlag.
func (f *Flag) TakesValue() bool { return f.setting.Kind() != setting.Switch }

// GetEnvVars implements cli.DocGenerationFlag.
func (f *Flag) GetEnvVars() []string { return Variable(f.Name) }

// String returns the line of the help text.
func (f *Flag) String() string { return cli.FlagStringer(f) }

// Plain returns the flag as one of urfave/cli's own types, which it needs to know which takes a
// file.
func (f *Flag) Plain() cli.Flag {
	if !f.TakesValue() {
		return &cli.BoolFlag{Name: f.Name, Usage: f.Usage}
	}
	return f.GenericFlag
}

// given collects the values of a flag on the command line.
type given struct {
	texts    []string
	isSwitch bool
}

// Set implements flag.Value. Package config parses the text.
func (g *given) Set(text string) error {
	g.texts = append(g.texts, text)
	return nil
}

// String implements flag.Value.
func (*given) String() string { return "" }

// IsBoolFlag reports whether the flag may stand without a value. Package flag calls it.
func (g *given) IsBoolFlag() bool { return g.isSwitch }

// GivenFlags returns the values on the command line, by the names of the flags.
func GivenFlags(c *cli.Context) map[string][]string {
	all := map[string][]string{}
	for _, f := range c.Command.Flags {
		s, ok := f.(*Flag)
		if !ok {
			continue
		}
		if g, ok := s.Value.(*given); ok && len(g.texts) > 0 {
			all[s.Name] = g.texts
		}
	}
	return all
}

// HelpLast returns the arguments of `help COMMAND SUBCOMMAND` as those of `COMMAND SUBCOMMAND
// --help`: urfave/cli's help knows one level only.
func HelpLast(app *cli.App, args []string) []string {
	if len(args) < 4 || args[1] != "help" && args[1] != "h" {
		return args
	}
	command := app.Command(args[2])
	for _, name := range args[3:] {
		if command != nil {
			command = command.Command(name)
		}
	}
	if command == nil {
		return args
	}
	return append(append(slices.Clone(args[:1]), args[2:]...), "--help")
}

// FlagsFirst moves flags after the arguments of a command, such as `connect URL` and `token create
// NAME`, before them: urfave/cli stops looking for flags at the first argument, and users write
// them after it.
func FlagsFirst(app *cli.App, args []string) []string {
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
		// urfave/cli would take an argument after it for a command to explain
		if name == "help" || name == "h" {
			return append(slices.Clone(before), word)
		}
		if !takesValue[name] {
			continue
		}
		// urfave/cli reports the missing value; the "--" below would be taken for it
		if len(words) == 1 {
			return append(slices.Clone(before), flags...)
		}
		words = words[1:]
		flags = append(flags, words[0])
	}
	sorted := append(slices.Clone(before), flags...)
	return append(append(sorted, "--"), rest...)
}

// Token returns the shared secret of the configuration, "" if none was given.
func (i *Invocation) Token() (string, error) {
	if i.Common.TokenFile == "" {
		return i.Common.Token, nil
	}
	data, err := i.ReadInput(FlagTokenFile)
	if err != nil {
		return "", failure.Usage("--token-file: %w", err)
	}
	secret := strings.TrimSpace(string(data))
	if secret == "" {
		advice := "make a token with " + config.MakeToken
		if i.Connect != nil { // a token of its own making is none of the server's
			advice = "it is to have the server's token, which `tunnel token create NAME` prints there"
		}
		return "", failure.Usage("--token-file %s is empty: %s", i.Common.TokenFile, advice)
	}
	if err := config.CheckToken(secret); err != nil {
		return "", failure.Usage("%w", err)
	}
	return secret, nil
}

// Logger returns the log on stderr.
func Logger(c *cli.Context, told config.Log) *slog.Logger {
	return logger(c, told.Format, told.Level)
}

func logger(c *cli.Context, format string, level slog.Leveler) *slog.Logger {
	handler := func(w io.Writer,
		o *slog.HandlerOptions) slog.Handler {
		return slog.NewTextHandler(w, o)
	}
	if format == "json" {
		handler = func(w io.Writer,
			o *slog.HandlerOptions) slog.Handler {
			return slog.NewJSONHandler(w, o)
		}
	}
	Output(c).NoticeDropped(handler)
	return slog.New(handler(c.App.ErrWriter, &slog.HandlerOptions{Level: level}))
}

// NoMore refuses more than most arguments.
func NoMore(c *cli.Context, most int) error {
	if c.NArg() > most {
		return failure.New(failure.StepUsage, fmt.Errorf("unexpected argument %q",
			c.Args().Get(most)), "see `"+c.Command.HelpName+" --help`")
	}
	return nil
}

// NoneEmpty refuses flags with an empty value, as package config does: an empty --expires would be
// never.
func NoneEmpty(c *cli.Context) error {
	for _, name := range c.LocalFlagNames() {
		if text, ok := c.Value(name).(string); ok && text == "" {
			return failure.Usage("--%s is empty: give a value or leave it out", name)
		}
	}
	return nil
}
