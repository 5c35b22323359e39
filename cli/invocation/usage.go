package invocation

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"tunnel/cli/failure"
	"tunnel/config/setting"
)

// NoAction is the action of a command that only has subcommands.
func NoAction(before string) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.Args().Present() {
			return NoCommand(c, before)
		}
		return cli.ShowSubcommandHelp(c)
	}
}

// UsageError is urfave/cli's hook for flags that it cannot parse.
func UsageError(c *cli.Context, err error, _ bool) error {
	help := "tunnel --help"
	if c.Command != nil && c.Command.Name != "" && c.Command.Name != c.App.Name {
		help = c.Command.HelpName + " --help"
	}
	advice := "see `" + help + "`"
	if name, ok := strings.CutPrefix(err.Error(), unknownFlag); ok && c.Command != nil {
		var names []string
		for _, f := range c.Command.Flags {
			names = append(names, f.Names()...)
		}
		if name == "version" || name == "v" {
			advice += "; did you mean `tunnel version`?"
		} else {
			advice += didYouMean("--", name, names)
		}
	}
	if strings.HasPrefix(err.Error(), badSyntax) {
		err = errors.New("an argument begins with - and is not a flag") // it may hold a secret
	}
	return failure.New(failure.StepUsage, err, advice)
}

// badSyntax begins package flag's error for an argument like ---token=SECRET, which follows.
const badSyntax = "bad flag syntax: "

// unknownFlag begins package flag's error for a flag that does not exist; its name follows.
const unknownFlag = "flag provided but not defined: -"

// NoCommand returns the failure of an unknown command; before has the commands above it.
func NoCommand(c *cli.Context, before string) error {
	typed := c.Args().First()
	var names []string
	for _, command := range c.Command.Subcommands {
		names = append(names, command.Name)
	}
	return failure.New(failure.StepUsage, fmt.Errorf("there is no command %q", before+typed),
		"see `tunnel "+before+"--help`"+didYouMean("tunnel "+before, typed, names))
}

// didYouMean suggests the name nearest to what was typed, for the end of a sentence; "" if none is
// near.
func didYouMean(before, typed string, names []string) string {
	if name := setting.Nearest(typed, names); name != "" {
		return "; did you mean `" + before + name + "`?"
	}
	return ""
}
