package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"tunnel/config"
	"tunnel/config/setting"
)

// configDir is where serve.yaml and connect.yaml are looked for.
const configDir = "/etc/tunnel"

// An invocation is one call of serve or of connect: what it was told, and the process that it is.
type invocation struct {
	c       *cli.Context
	file    *setting.File   // nil for none
	common  *config.Common  // of the one below that is set
	serve   *config.Serve   // nil for connect
	connect *config.Connect // nil for serve
	public  bool            // others may read the file
	onLink  func()          // of connect: called when the device gets its addresses
}

// invoke reads what the command in c was told.
func invoke(c *cli.Context) (*invocation, error) {
	i := &invocation{c: c}
	from, err := i.sources()
	if err != nil {
		return nil, err
	}
	return i, i.load(c.Command.Name, from)
}

// load makes an invocation of the command from its sources.
func (i *invocation) load(command string, from setting.Sources) (err error) {
	if command == "serve" {
		i.serve, err = config.LoadServe(from)
		i.common = &i.serve.Common
	} else {
		i.connect, err = config.LoadConnect(from)
		i.common = &i.connect.Common
	}
	return err
}

// settings returns the table of what the invocation was told.
func (i *invocation) settings() []*setting.Setting {
	if i.serve != nil {
		return i.serve.Settings()
	}
	return i.connect.Settings()
}

// sources returns where the values of the command in c come from.
func (i *invocation) sources() (setting.Sources, error) {
	from := setting.Sources{Lookup: os.LookupEnv, Flags: givenFlags(i.c)}
	command := i.c.Command.Name
	if command == "connect" && i.c.Args().Present() {
		from.Flags["url"] = i.c.Args().Slice()
	}
	var err error
	i.file, err = i.configFile(command, from)
	from.File = i.file
	return from, err
}

// configFile reads the configuration file; nil if there is none. A URL from elsewhere is another server than that of the
// default file, which must not get the token of that one.
func (i *invocation) configFile(command string, from setting.Sources) (*setting.File, error) {
	name, _ := from.Lookup(env(flagConfig)[0])
	if texts := from.Flags[flagConfig]; len(texts) > 0 {
		name = texts[len(texts)-1]
	}
	optional := name == ""
	if optional {
		_, byVariable := from.Lookup(env("url")[0])
		if command == "connect" && (len(from.Flags["url"]) > 0 || byVariable) {
			return nil, nil
		}
		name = filepath.Join(configDir, command+".yaml")
	}
	file, err := i.open(flagConfig, name)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, usage("--%s: %w", flagConfig, err)
	}
	defer func() { _ = file.Close() }()
	if info, err := file.Stat(); err == nil && workerOf(i.c) == nil {
		i.public = info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0
	}
	return readConfig(file, name)
}

// warn says in the log what is unwise about the configuration.
func (i *invocation) warn(log *slog.Logger) {
	for _, s := range i.settings() {
		if s.Secret && i.public && i.common.From[s.Name].File != "" {
			log.Warn("other users may read a secret in the configuration file: `chmod 600` it", "file", i.file.Name, "key", s.Name)
		}
	}
}

// readConfig reads an open configuration file.
func readConfig(file io.Reader, name string) (*setting.File, error) {
	data, err := io.ReadAll(io.LimitReader(file, setting.MaxFile+1))
	if err == nil && len(data) > setting.MaxFile {
		err = fmt.Errorf("it is larger than %d bytes", setting.MaxFile)
	}
	if err != nil {
		return nil, usage("--%s %s: %w", flagConfig, name, err)
	}
	return &setting.File{Name: name, Data: data}, nil
}

// log returns the log of the invocation, on stderr.
func (i *invocation) log() *slog.Logger { return logger(i.c, i.common.Log) }

// hook returns the command of --on-up or --on-down.
func (i *invocation) hook(flag string) string {
	switch {
	case i.connect == nil:
		return ""
	case flag == flagOnUp:
		return i.connect.OnUp
	}
	return i.connect.OnDown
}

// input returns the name of the file that a flag says to read; "" if there is none.
func (i *invocation) input(flag string) string {
	for _, s := range i.settings() {
		if s.Name == flag && s.Input {
			return s.Text()
		}
	}
	return ""
}

// openInput opens the file that a flag says to read. A worker, which may not, is given it by its parent.
func (i *invocation) openInput(flag string) (*os.File, error) { return i.open(flag, i.input(flag)) }

func (i *invocation) open(flag, name string) (*os.File, error) {
	if w := workerOf(i.c); w != nil {
		return w.Open(flag)
	}
	return os.Open(name)
}

// readInput returns what the file that a flag says to read holds.
func (i *invocation) readInput(flag string) ([]byte, error) {
	file, err := i.openInput(flag)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return io.ReadAll(file)
}

// copyOfFile returns the configuration file as this process has read it, for its worker: the file may have changed since. It
// is empty if there is none. The caller closes it.
func (i *invocation) copyOfFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("tunnel-config", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("copy the configuration: %w", err)
	}
	file := os.NewFile(uintptr(fd), "tunnel-config")
	if i.file != nil {
		if _, err = file.Write(i.file.Data); err == nil {
			_, err = file.Seek(0, io.SeekStart)
		}
	}
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("copy the configuration: %w", err)
	}
	return file, nil
}
