// Package backup has the commands `tunnel backup` and `tunnel restore`.
package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"tunnel/admin/audit"
	"tunnel/atomicfile"
	"tunnel/backup"
	"tunnel/certs"
	"tunnel/cli/failure"
	"tunnel/cli/invocation"
	"tunnel/cli/statedir"
	"tunnel/control"
	"tunnel/state"
)

// stateName is the name in a backup of the content of the state file, as JSON: a database would fit
// machines of one kind only, and could not be copied while it is in use.
const stateName = "state.json"

// Command returns the command `tunnel backup`.
func Command() *cli.Command {
	return &cli.Command{
		Name:      "backup",
		Usage:     "save a server's tokens, addresses and keys, encrypted",
		ArgsUsage: "FILE",
		Description: "The server may run. FILE is new, and a passphrase opens it (age, " +
			"https://age-encryption.org).\nExample:\n\n" +
			"   sudo tunnel backup hub.age",
		Flags:           []cli.Flag{passphraseFlag(), statedir.Flag()},
		OnUsageError:    invocation.UsageError,
		HideHelpCommand: true,
		Action:          save,
	}
}

func save(c *cli.Context) error {
	name, err := fileName(c)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(name); !errors.Is(err, os.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s exists", name)
		}
		return failure.New(failure.StepUsage, err, "choose another name")
	}
	secret, err := passphrase(c, true)
	if err != nil {
		return err
	}
	by := audit.Self() // before AsOwner
	var files backup.Files
	if err := statedir.AsOwner(c, statedir.Chosen(c), func(dir string) (err error) {
		files, err = gather(c.Context, dir, by)
		return err
	}); err != nil {
		return err
	}
	err = write(name, secret, files)
	if errors.Is(err, backup.ErrTooLarge) {
		return failure.New(failure.StepState, err, "revoke tokens that nobody uses")
	}
	if err != nil {
		return failure.New(failure.StepOutput, err, "choose a place with room")
	}
	_, err = fmt.Fprintf(c.App.Writer, "saved in %s: keep the passphrase elsewhere, nobody can do "+
		"without it\n", failure.Printable(name))
	return err
}

// fileName returns the one argument.
func fileName(c *cli.Context) (string, error) {
	if err := invocation.NoMore(c, 1); err != nil {
		return "", err
	}
	if c.Args().First() == "" {
		return "", failure.Usage("which file? tunnel %s FILE", c.Command.Name)
	}
	return c.Args().First(), nil
}

// write seals files into a new file, which is there whole or not at all.
func write(name, secret string, files backup.Files) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.part") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	if err := errors.Join(backup.Seal(temp, secret, files), temp.Sync(), temp.Close()); err != nil {
		return err
	}
	err = unix.Renameat2(unix.AT_FDCWD, temp.Name(), unix.AT_FDCWD, name, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) { // NFS; where there are no links, as on FAT, the above works
		err = os.Link(temp.Name(), name)
	}
	if err != nil {
		return &os.PathError{Op: "make", Path: name, Err: err}
	}
	return atomicfile.SyncDir(name)
}

// patience is how long a server that has locked the file and does not answer is waited for: it is
// just starting or stopping.
const patience = 5 * time.Second

// Bounds of what a server may have, so that one that was broken into does not take this process's
// memory: bytes of a key or certificate, and the authority's files.
const maxFile, maxACME = 1 << 20, 64

// gather returns the files of a server's state in dir.
func gather(ctx context.Context, dir string, by audit.Actor) (backup.Files, error) {
	content, err := export(ctx, dir, by)
	if err != nil {
		return nil, err
	}
	delete(content, statedir.BucketAudit) // it goes to the audit log of this machine
	files := backup.Files{}
	if files[stateName], err = json.Marshal(content); err != nil {
		return nil, err
	}
	acme, err := acmeFiles(dir)
	if err != nil {
		return nil, failure.New(failure.StepState, err, statedir.AdviceServer)
	}
	for _, name := range append(acme, certs.IdentityKey, certs.IdentityCert) {
		data, err := read(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // a server with a certificate, or a file that was just replaced
		}
		if err != nil {
			return nil, failure.New(failure.StepState, err, statedir.AdviceServer)
		}
		files[name] = data
	}
	return files, nil
}

// read returns a file of at most maxFile bytes. It follows no link, and waits for nobody.
func read(path string) ([]byte, error) {
	file, err := atomicfile.Open(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s has more than %d bytes: it is not a server's", path, maxFile)
	}
	return data, err
}

// acmeFiles returns the names of the ACME authority's files.
func acmeFiles(dir string) (names []string, err error) {
	path := filepath.Join(dir, statedir.ACMEDir)
	acme, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = acme.Close() }()
	all, err := acme.ReadDir(maxACME + 1)
	if len(all) > maxACME {
		return nil, fmt.Errorf("%s has more than %d files: it is not a server's", path, maxACME)
	}
	for _, file := range all {
		if file.Type().IsRegular() {
			names = append(names, filepath.Join(statedir.ACMEDir, file.Name()))
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

// export returns the content of the state file, from the server that runs or from the file.
func export(ctx context.Context, dir string, by audit.Actor) (state.Content, error) {
	for until := time.Now().Add(patience); ; {
		content, err := control.NewClient(dir).By(by).Export(ctx, backup.MaxSize)
		if !errors.Is(err, control.ErrNoServer) {
			var large control.TooLargeError
			switch {
			case errors.As(err, &large):
				err = failure.New(failure.StepState, err, "revoke tokens that nobody uses")
			case err != nil:
				err = failure.New(failure.StepState, err,
					"see the server's log, and run as root or as the server's user")
			}
			return content, err
		}
		if _, err := os.Lstat(filepath.Join(dir, statedir.FileName)); errors.Is(err, os.ErrNotExist) {
			return nil, failure.New(failure.StepState,
				fmt.Errorf("%s has no %s: it is not a server's state", dir, statedir.FileName),
				statedir.AdviceServer)
		}
		file, err := statedir.OpenFile(state.Try, dir)
		if err == nil {
			content, err := file.Export()
			return content, errors.Join(err, file.Close())
		}
		if !errors.Is(err, state.ErrLocked) || time.Now().After(until) {
			return nil, err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, failure.Usage("interrupted: nothing was written")
		}
	}
}
