package invocation

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"tunnel/cli/failure"
	"tunnel/config"
	"tunnel/config/commands"
	"tunnel/config/setting"
)

// The flags of hooks, by which they are known to the parent process.
const (
	OnUp         = commands.OnUp
	OnDown       = commands.OnDown
	OnConnect    = commands.OnConnect
	OnDisconnect = commands.OnDisconnect
)

// configDir is the directory of the default serve.yaml and connect.yaml.
const configDir = "/etc/tunnel"

// DefaultFile returns the name of the default configuration file of serve or connect.
func DefaultFile(command string) string { return filepath.Join(configDir, command+".yaml") }

// An Invocation is one call of serve or connect, with its configuration.
type Invocation struct {
	CLI     *cli.Context
	file    *setting.File   // nil for none
	Common  *config.Common  // that of Serve or Connect, whichever is set
	Serve   *config.Serve   // nil for connect
	Connect *config.Connect // nil for serve
	ends    sync.Map        // by flag: endReads' stop for the file that was opened last
	OnLink  func()          // of connect: called when the device gets its addresses; nil for none
}

// New loads the configuration of the command in c.
func New(c *cli.Context) (*Invocation, error) {
	return NewOf(c, c.Command.Name, GivenFlags(c))
}

// NewOf loads the configuration of serve or connect for a command that only looks at it, with those
// of its flags that are of serve or connect.
func NewOf(c *cli.Context, command string, flags map[string][]string) (*Invocation, error) {
	i := &Invocation{CLI: c}
	from, err := i.sources(command, flags)
	if err != nil {
		return nil, err
	}
	return i, i.Load(command, from)
}

// Load loads the configuration of a command from its sources.
func (i *Invocation) Load(command string, from setting.Sources) (err error) {
	if command == "serve" {
		i.Serve, err = config.LoadServe(from)
		i.Common = &i.Serve.Common
	} else {
		i.Connect, err = config.LoadConnect(from)
		i.Common = &i.Connect.Common
	}
	return err
}

// Settings returns the table of the command's settings.
func (i *Invocation) Settings() []*setting.Setting {
	if i.Serve != nil {
		return i.Serve.Settings()
	}
	return i.Connect.Settings()
}

// sources returns the sources of a command's values.
func (i *Invocation) sources(command string, flags map[string][]string) (setting.Sources, error) {
	from := setting.Sources{Lookup: os.LookupEnv, Flags: flags}
	if command == "connect" && i.CLI.Args().Present() {
		from.Flags["url"] = i.CLI.Args().Slice()
	}
	var err error
	i.file, err = i.configFile(command, from)
	from.File = i.file
	return from, err
}

// configFile reads the configuration file; it returns nil if there is none. A URL from another
// source may be another server than that of the default file, and must not get that server's token.
// The same holds for a URL on the command line and the file of TUNNEL_CONFIG.
func (i *Invocation) configFile(command string, from setting.Sources) (*setting.File, error) {
	name, _ := from.Lookup(Variable(FlagConfig)[0])
	if texts := from.Flags[FlagConfig]; len(texts) > 0 {
		name = texts[len(texts)-1]
	} else if len(from.Flags["url"]) > 0 {
		return nil, nil
	}
	optional := name == ""
	if optional {
		_, byVariable := from.Lookup(Variable("url")[0])
		if command == "connect" && byVariable {
			return nil, nil
		}
		name = DefaultFile(command)
	}
	open := OpenFile
	if w := Worker(i.CLI); w != nil {
		open = func(string) (*os.File, error) { return w.Open(FlagConfig) }
	}
	file, err := readConfig(i.CLI.Context, name, open)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && Worker(i.CLI) != nil { // a copy; the parent has looked at the file
		file.Owner, file.Public = 0, false
	}
	return file, err
}

// Warn logs what is insecure about the configuration.
func (i *Invocation) Warn(log *slog.Logger) {
	if i.file != nil && i.file.Owner != 0 {
		log.Warn("the configuration file belongs to another user, who decides some of what this "+
			"machine does: `chown root` it", "file", i.file.Name, "uid", i.file.Owner)
	}
	if Worker(i.CLI) == nil { // its parent has done so
		for _, m := range mistyped(os.Environ()) {
			log.Warn("no setting has this variable: it is ignored", "variable", m[0],
				"did_you_mean", m[1])
		}
	}
	for _, s := range i.Settings() {
		if s.Secret && i.file != nil && i.file.Public && i.Common.From[s.Name].File != "" {
			log.Warn("other users may read a secret in the configuration file: `chmod 600` it",
				"file", i.file.Name, "key", s.Name)
		}
	}
}

// Doubts returns what this machine's run with the configuration of a file would refuse or warn of.
// The file may be for another machine.
func (i *Invocation) Doubts(file *setting.File) (all []string) {
	for _, s := range i.Settings() {
		if s.Input && s.Name != FlagConfig && s.Text() != "" {
			input, err := OpenFile(s.Text())
			if err != nil {
				all = append(all, s.Name+": "+err.Error())
				continue
			}
			_ = input.Close()
		}
		if s.Secret && file.Public && i.Common.From[s.Name].File != "" {
			all = append(all, s.Name+": other users may read this secret: `chmod 600` the file")
		}
	}
	return all
}

// mistyped returns the variables of an environment that are nearly those of a setting of serve or
// connect, with what they most likely mean. Others may be of another program: Kubernetes
// sets TUNNEL_SERVICE_HOST and TUNNEL_PORT for a service that is called tunnel.
func mistyped(environ []string) (all [][2]string) {
	var names []string
	for _, s := range append(config.DefaultServe().Settings(),
		config.DefaultConnect().Settings()...) {
		names = append(names, s.Name)
	}
	for _, kv := range environ {
		variable, _, _ := strings.Cut(kv, "=")
		text, ours := strings.CutPrefix(variable, "TUNNEL_")
		switch text = strings.ToLower(strings.ReplaceAll(text, "_", "-")); {
		case !ours, slices.Contains(names, text):
		// of hooks, of Kubernetes
		case text == "peer", text == "client-name", text == "port":
		default:
			if near := setting.Nearest(text, names); near != "" {
				all = append(all, [2]string{variable, Variable(near)[0]})
			}
		}
	}
	return all
}

// ReadConfig reads the configuration file of that name until ctx ends.
func ReadConfig(ctx context.Context, name string) (*setting.File, error) {
	return readConfig(ctx, name, OpenFile)
}

func readConfig(ctx context.Context, name string,
	open func(string) (*os.File, error)) (*setting.File, error) {
	file, err := open(name)
	if err != nil {
		return nil, failure.Usage("--%s: %w", FlagConfig, err)
	}
	defer func() { _ = file.Close() }()
	data, err := readAll(ctx, file, setting.MaxFile)
	if err != nil {
		return nil, failure.Usage("--%s %s: %w", FlagConfig, name, err)
	}
	config := &setting.File{Name: name, Data: data}
	config.Owner, config.Public, err = ownerOf(file)
	return config, err
}

// Log returns the log of the invocation, on stderr.
func (i *Invocation) Log() *slog.Logger { return Logger(i.CLI, i.Common.Log) }

// Hook returns the command of a client's --on-up or --on-down, "" for none.
func (i *Invocation) Hook(flag string) string {
	switch {
	case i.Connect == nil:
		return ""
	case flag == OnUp:
		return i.Connect.OnUp
	}
	return i.Connect.OnDown
}
