package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"tunnel/auth"
	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/config"
	"tunnel/config/setting"
)

func configCommand() *cli.Command {
	return &cli.Command{
		Name:  "config",
		Usage: "show, check and describe configuration files",
		Description: "serve and connect read /etc/tunnel/serve.yaml and connect.yaml, or the " +
			"file of --config. Its keys\n" +
			"are the names of the flags. Example:\n\n" +
			"   listen: :443\n" +
			"   acme: server.example.com",
		OnUsageError:    invocation.UsageError,
		HideHelpCommand: true,
		Action:          invocation.NoAction("config "),
		Subcommands: []*cli.Command{
			{
				Name: "show",
				Usage: "print the effective values of serve or connect, and where each came " +
					"from", OnUsageError: invocation.UsageError,
				HideHelpCommand: true, Action: invocation.NoAction("config show "),
				Description: "Takes the flags of the command. The output is a usable " +
					"configuration file without secrets. Examples:\n\n" +
					"   sudo tunnel config show serve\n" +
					"   tunnel config show connect --config connect.yaml --mtu 1300",
				Subcommands: []*cli.Command{
					{
						Name: "serve", Usage: "of tunnel serve",
						Flags:        invocation.Flags(config.DefaultServe().Settings()),
						OnUsageError: invocation.UsageError, HideHelpCommand: true,
						Action: configShow,
					},
					{
						Name: "connect", Usage: "of tunnel connect", ArgsUsage: "[URL...]",
						Flags:        invocation.Flags(config.DefaultConnect().Settings()),
						OnUsageError: invocation.UsageError, HideHelpCommand: true,
						Action: configShow,
					},
				},
			},
			{
				Name: "check", Usage: "report all problems of a file", ArgsUsage: "FILE",
				OnUsageError: invocation.UsageError, HideHelpCommand: true,
				Description: "The file is for the command that its name begins with, else for " +
					"the one that it fits. Example:\n\n" +
					"   tunnel config check /etc/tunnel/serve.yaml",
				Action: configCheck,
			},
			{
				Name: "schema", Usage: "print a JSON Schema of such files, for an editor",
				ArgsUsage:    "[serve|connect]",
				OnUsageError: invocation.UsageError, HideHelpCommand: true,
				Description: "Example, for the editors that know the YAML language server:\n\n" +
					"   tunnel config schema serve > serve.schema.json\n" +
					"   # yaml-language-server: $schema=serve.schema.json (the first line of " +
					"serve.yaml)",
				Action: configSchema,
			},
		},
	}
}

func configShow(c *cli.Context) error {
	if c.Command.Name == "serve" {
		if err := invocation.NoMore(c, 0); err != nil {
			return err
		}
	}
	i, err := invocation.New(c)
	var wrong setting.Errors
	if err != nil && !errors.As(err, &wrong) {
		return err
	}
	var shown bytes.Buffer
	err = errors.Join(setting.Show(&shown, i.Settings(), i.Common.From), err)
	_, writeErr := c.App.Writer.Write(auth.Redact(shown.Bytes())) // a token in the wrong place
	return errors.Join(err, writeErr)
}

func configCheck(c *cli.Context) error {
	if err := invocation.NoMore(c, 1); err != nil {
		return err
	}
	name := c.Args().First()
	if name == "" {
		return failure.Usage("which file? tunnel config check FILE")
	}
	file, err := invocation.ReadConfig(c.Context, name)
	if err != nil {
		return err
	}
	commands := []string{"serve", "connect"}
	for _, command := range commands {
		if strings.HasPrefix(filepath.Base(name), command) {
			commands = []string{command}
		}
	}
	var least error
	var fits []string
	for _, command := range commands {
		var i invocation.Invocation
		err := i.Load(command, setting.Sources{File: file})
		if err == nil {
			doubts := i.Doubts(file)
			if len(fits) > 0 {
				doubts = nil // they were shown
			}
			for _, doubt := range doubts {
				_, _ = fmt.Fprintf(c.App.ErrWriter, "%s: warning: %s\n", name, doubt)
			}
			fits = append(fits, "tunnel "+command)
			continue
		}
		if least == nil || strings.Count(err.Error(), "\n") < strings.Count(least.Error(), "\n") {
			least = err
		}
	}
	if len(fits) == 0 {
		return least
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s: no problems; it is for %s\n", name,
		strings.Join(fits, " or "))
	return err
}

func configSchema(c *cli.Context) error {
	if err := invocation.NoMore(c, 1); err != nil {
		return err
	}
	var schema map[string]any
	switch command := c.Args().First(); command {
	case "":
		schema = config.Schema()
	case "serve":
		schema = config.SchemaOf(command, config.DefaultServe().Settings())
	case "connect":
		schema = config.SchemaOf(command, config.DefaultConnect().Settings())
	default:
		return failure.Usage("schema of %q: one of serve, connect, or both without an argument",
			command)
	}
	encoder := json.NewEncoder(c.App.Writer)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(schema)
}
