package backup

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"tunnel/admin/audit"
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
	by := audit.Self() // before this process becomes another user
	dir, err := statedir.ForTokens(c, statedir.Chosen(c), statedir.Make)
	if err != nil {
		return err
	}
	if err := put(dir, files, c.Bool(flagForce), by); err != nil {
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
// of a server is replaced with force, and an error without. All is on the disk before anything is
// replaced. The state file is the last: until then its lock keeps servers away.
func put(dir string, files backup.Files, force bool, by audit.Actor) (err error) {
	path := filepath.Join(dir, statedir.FileName)
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
	there, err := present(dir)
	if err != nil {
		return failure.New(failure.StepState, err, statedir.Advice)
	}
	if !fresh {
		there = append(there, statedir.FileName)
	}
	if len(there) > 0 && !force {
		return failure.New(failure.StepState, fmt.Errorf("%s has %s of a server", dir, there[0]),
			"choose another --state, or give --force to replace what is there")
	}
	former, err := waiting(path, held)
	if err != nil {
		return failure.New(failure.StepState, err, "nothing was changed: "+makeRoom)
	}
	whole := maps.Clone(files)
	delete(whole, stateName)
	if whole[statedir.FileName], err = database(path, files[stateName], former, by); err != nil {
		advice := makeRoom
		if errors.Is(err, backup.ErrDamaged) {
			advice = "take another backup"
		}
		return failure.New(failure.StepState, err, "nothing was changed: "+advice)
	}
	r := restoring{dir: dir, next: map[string]*atomicfile.Next{}}
	defer r.discard()
	if err := r.prepare(whole); err != nil {
		return failure.New(failure.StepState, err, "nothing was changed: "+makeRoom)
	}
	if err := r.commit(held, there); err != nil {
		if len(there) == 0 {
			return failure.New(failure.StepState, errors.Join(err, r.undo()), "nothing was restored")
		}
		return failure.New(failure.StepState, err, "some files are restored and others not: start no "+
			"server, mend this, and restore again with --force")
	}
	replaced = true
	return nil
}

const makeRoom = "make room on its disk"

// present returns the names of the files that a directory has of a server, without the state file.
func present(dir string) (there []string, err error) {
	acme, err := acmeFiles(dir)
	for _, name := range append(acme, certs.IdentityKey, certs.IdentityCert) {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			there = append(there, name)
		}
	}
	return there, err
}

// waiting returns the entries of the audit log that wait in a state file, for the next one.
func waiting(path string, held *atomicfile.Locked) (map[string][]byte, error) {
	data, err := held.Read(backup.MaxSize)
	if err != nil || len(data) == 0 {
		return nil, err
	}
	var content state.Content
	if _, err = inDatabase(path, data, func(file *state.File) error {
		content, err = file.Export()
		return err
	}); errors.Is(err, state.ErrDamaged) {
		return nil, nil // which may be why it is replaced
	}
	return content[statedir.BucketAudit], err
}

// database returns a new state file, made beside path, with the content of a backup, and what waits
// for the audit log, to which it adds who restored it.
func database(path string, content []byte, former map[string][]byte,
	by audit.Actor) ([]byte, error) {
	var all state.Content
	if err := json.Unmarshal(content, &all); err != nil || all == nil {
		return nil, fmt.Errorf("%w: %s", backup.ErrDamaged, stateName)
	}
	all[statedir.BucketAudit] = former
	return inDatabase(path, nil, func(file *state.File) error {
		if err := file.Import(all); err != nil {
			return err
		}
		// which reads each token
		store, err := auth.Open(file.Bucket(statedir.BucketTokens))
		if errors.Is(err, state.ErrDamaged) {
			return fmt.Errorf("%w: %w", backup.ErrDamaged, err)
		}
		if err == nil {
			err = store.Close()
		}
		return errors.Join(err, audit.Keep(file.Bucket(statedir.BucketAudit),
			audit.Entry{Event: audit.StateRestored}.By(by)))
	})
}

// inDatabase calls use with a state file, made beside path, that has data, or is new without. It
// returns what the file has then.
func inDatabase(path string, data []byte, use func(*state.File) error) ([]byte, error) {
	temp := path + ".restored.new" // a server removes what is left of it
	_ = os.Remove(temp)
	defer func() { _ = os.Remove(temp) }()
	if data != nil {
		if err := os.WriteFile(temp, data, 0o600); err != nil {
			return nil, err
		}
	}
	file, err := state.Try(temp)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(use(file), file.Close()); err != nil {
		return nil, err
	}
	return os.ReadFile(temp)
}

// restoring is what put does in dir.
type restoring struct {
	dir     string
	next    map[string]*atomicfile.Next // by name; not committed yet
	done    []string                    // is committed
	madeDir bool                        // the ACME authority's
}

// prepare writes all files, beside those that are there.
func (r *restoring) prepare(files backup.Files) error {
	for name, data := range files {
		path := filepath.Join(r.dir, name)
		if strings.Contains(name, "/") {
			switch err := os.Mkdir(filepath.Dir(path), 0o700); {
			case err == nil:
				r.madeDir = true
			case !errors.Is(err, os.ErrExist):
				return err
			}
		}
		next, err := atomicfile.Prepare(path, data)
		if err != nil {
			return err
		}
		r.next[name] = next
	}
	return nil
}

// commit puts all files in place, removes those that are there and not in the backup, and ends with
// the state file, which is held.
func (r *restoring) commit(held *atomicfile.Locked, there []string) error {
	database := r.next[statedir.FileName]
	for _, name := range there {
		if r.next[name] != nil {
			continue
		}
		if err := os.Remove(filepath.Join(r.dir, name)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.next)) {
		next := r.next[name]
		delete(r.next, name)
		if next == database {
			continue
		}
		if err := next.Commit(); err != nil {
			return err
		}
		r.done = append(r.done, name)
	}
	return held.Commit(database)
}

// undo removes what commit has put where nothing was.
func (r *restoring) undo() (err error) {
	for _, name := range r.done {
		err = errors.Join(err, os.Remove(filepath.Join(r.dir, name)))
	}
	return err
}

// discard removes what was not put in place.
func (r *restoring) discard() {
	for _, next := range r.next {
		next.Discard()
	}
	if r.madeDir {
		_ = os.Remove(filepath.Join(r.dir, statedir.ACMEDir)) // unless it has files now
	}
}
