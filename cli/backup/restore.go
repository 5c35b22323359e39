package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"tunnel/atomicfile"
	"tunnel/auth"
	"tunnel/backup"
	"tunnel/certs"
	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/cli/statedir"
	"tunnel/state"
)

const flagForce = "force"

// RestoreCommand returns the command `tunnel restore`.
func RestoreCommand() *cli.Command {
	return &cli.Command{
		Name:      "restore",
		Usage:     "put a server's backup in place, on this machine or another",
		ArgsUsage: "FILE",
		Description: "No server may run with this state. Two machines must not run from one " +
			"backup.\nExample:\n\n" +
			"   sudo tunnel restore hub.age",
		Flags: []cli.Flag{
			passphraseFlag(), statedir.Flag(),
			&cli.BoolFlag{Name: flagForce, Usage: "replace the tokens, addresses and keys that are there"},
		},
		OnUsageError:    invocation.UsageError,
		HideHelpCommand: true,
		Action:          restore,
	}
}

func restore(c *cli.Context) error {
	name, err := fileName(c)
	if err != nil {
		return err
	}
	source, err := os.Open(name)
	if err != nil {
		return failure.Usage("%w", err)
	}
	defer func() { _ = source.Close() }()
	secret, err := passphrase(c, false)
	if err != nil {
		return err
	}
	files, err := backup.Open(source, secret)
	if err == nil {
		err = check(files)
	}
	if err != nil {
		return failure.New(failure.StepUsage, fmt.Errorf("%s: %w", name, err), "nothing was changed")
	}
	dir, err := statedir.ForTokens(c, statedir.Chosen(c), statedir.Make)
	if err != nil {
		return err
	}
	if err := put(dir, files, c.Bool(flagForce)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.App.Writer, "restored to %s\n", dir)
	return err
}

// check returns an error unless files are those of a backup.
func check(files backup.Files) error {
	if files[stateName] == nil {
		return fmt.Errorf("%w: it has no %s", backup.ErrDamaged, stateName)
	}
	for name := range files {
		acme, ok := strings.CutPrefix(name, statedir.ACMEDir+"/")
		if ok && acme == filepath.Base(acme) && filepath.IsLocal(acme) && acme != "." {
			continue
		}
		switch name {
		case stateName, certs.IdentityKey, certs.IdentityCert:
		default:
			return fmt.Errorf("%w: %q is not of a server", backup.ErrDamaged, name)
		}
	}
	return nil
}

// put writes the files of a backup into a directory on which no server runs. What the directory has
// of a server is replaced with force, and an error without. The state file is the last: until then
// its lock keeps servers away.
func put(dir string, files backup.Files, force bool) (err error) {
	path := filepath.Join(dir, statedir.FileName)
	acme, err := acmeFiles(dir)
	if err != nil {
		return failure.New(failure.StepState, err, statedir.Advice)
	}
	var there []string
	for _, name := range append(acme, statedir.FileName, certs.IdentityKey, certs.IdentityCert) {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			there = append(there, name)
		}
	}
	if len(there) > 0 && !force {
		return failure.New(failure.StepState, fmt.Errorf("%s has %s of a server", dir, there[0]),
			"choose another --state, or give --force to replace what is there")
	}
	_, err = os.Lstat(path)
	fresh := errors.Is(err, os.ErrNotExist)
	held, err := atomicfile.Lock(path, os.O_CREATE, 0)
	if errors.Is(err, atomicfile.ErrLocked) {
		return failure.New(failure.StepState, errors.New("a server runs on "+dir), "stop it first")
	}
	if err != nil {
		return failure.New(failure.StepState, err, statedir.Advice)
	}
	replaced := false
	defer func() {
		if fresh && !replaced { // it is empty
			err = errors.Join(err, held.Remove())
		} else {
			err = errors.Join(err, held.Close())
		}
	}()
	database, err := database(path, files[stateName])
	if err != nil {
		return failure.New(failure.StepState, err, "nothing was changed: make room on its disk")
	}
	if err := replace(dir, files, there); err != nil {
		return failure.New(failure.StepState, err, "make room on its disk, and do it again")
	}
	if err := held.Replace(database, true); err != nil {
		return failure.New(failure.StepState, err, "make room on its disk, and do it again")
	}
	replaced = true
	return nil
}

// database returns a new state file, made beside path, with the content of a backup.
func database(path string, content []byte) (data []byte, err error) {
	var all state.Content
	if err := json.Unmarshal(content, &all); err != nil {
		return nil, fmt.Errorf("%w: %s", backup.ErrDamaged, stateName)
	}
	temp := path + ".restored.new" // a server removes what is left of it
	_ = os.Remove(temp)
	defer func() { _ = os.Remove(temp) }()
	file, err := state.Try(temp)
	if err != nil {
		return nil, err
	}
	if err := file.Import(all); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	store, err := auth.Open(file.Bucket(statedir.BucketTokens)) // which reads each token
	if err == nil {
		err = store.Close()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	return os.ReadFile(temp)
}

// replace writes the keys of a backup, and removes those there that it does not have.
func replace(dir string, files backup.Files, there []string) error {
	for name, data := range files {
		if name == stateName {
			continue
		}
		path := filepath.Join(dir, name)
		if strings.Contains(name, "/") {
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
		}
		if err := atomicfile.Replace(path, data); err != nil {
			return err
		}
	}
	for _, name := range there {
		if files[name] != nil || name == statedir.FileName {
			continue
		}
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
