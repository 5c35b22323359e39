package dns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"tunnel/cmdrun"
	"tunnel/journal"
)

// File is the fact that /etc/resolv.conf names the servers of the tunnel. What it was before is in
// the file itself, see overlay, so that a journal can do nothing but bring that back, and only
// where it was taken from. Names of all domains go to the servers.
type File struct {
	Dev     string `json:"dev"`
	Journal string `json:"journal,omitempty"` // Owner.Journal
	lists
}

// The file, and what is renamed over it where it is no file.
const (
	resolvConf = "/etc/resolv.conf"
	nextConf   = resolvConf + ".tunnel"
)

// ErrBusy means that another live run has its own servers in /etc/resolv.conf.
var ErrBusy = errors.New(resolvConf + " has the DNS servers of another run of tunnel")

// Kind implements journal.Fact.
func (f File) Kind() string { return "resolv.conf" }

func (f File) String() string {
	return fmt.Sprintf("DNS servers %s of %s in %s", f.Servers, f.Dev, resolvConf)
}

// Check implements journal.Fact.
func (f File) Check(r journal.Rules) error {
	if err := checkDevice(f.Dev, r, f); err != nil {
		return err
	}
	if f.Journal != "" && !journal.IsName(f.Journal, f.Dev) {
		return fmt.Errorf("%w: %s: %.100q is no journal of %s", journal.ErrFact, f, f.Journal,
			f.Dev)
	}
	return f.check(true)
}

// Find implements journal.Fact. The servers need not be f's: a program that had saved an earlier
// file of this run may have put that back. Nor need the file be as it was made: what other programs
// have done to it is undone with the rest only as far as it is this program's. A file that no live
// run owns is found, too.
func (f File) Find(journal.Machine) (bool, error) {
	if _, err := os.Lstat(nextConf); err == nil {
		return true, nil
	}
	p, err := openPlace(os.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer p.close()
	_, is, err := f.cover(p)
	return is, err
}

// cover returns the overlay that is there, whose it may be, and reports whether there is one that
// f's run may undo.
func (f File) cover(p *place) (c cover, is bool, err error) {
	if c, is = p.cover(f.lists); !is || c.owner == f.Journal {
		return c, is, nil
	}
	held, err := journal.Held(c.owner)
	return c, !held && err == nil, err
}

// Intact reports whether the file is as Make writes it.
func (f File) Intact(journal.Machine) (bool, error) {
	p, err := openPlace(os.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer p.close()
	c, is := p.cover(f.lists)
	return is && !c.edited && c.owner == f.Journal && c.lists == f.lists, nil
}

// Make writes the file. A file is written in place: it may be a mount point, as Docker's is, and
// keeps its owner, its mode and its label. In the place of a symbolic link comes a file, because
// what it leads to is another program's. The error is an ErrBusy if another live run's servers are
// there.
func (f File) Make(ctx context.Context, m journal.Machine) error {
	_, err := m.Run.Run(ctx, cmdrun.Command{Program: "tee", Args: []string{resolvConf},
		Input: f.lines(), Do: func() error { return f.overlay(ctx, m) }})
	return err
}

func (f File) overlay(ctx context.Context, m journal.Machine) error {
	p, err := openPlace(os.O_RDWR)
	if err != nil {
		return err
	}
	defer p.close()
	c, covered, err := f.cover(p)
	if err != nil {
		return err
	}
	before := p.saved
	if covered {
		before = c.mended(f.lists)
	} else if c.owner != "" {
		return fmt.Errorf("%w: its journal is %s", ErrBusy, c.owner)
	}
	if len(before.text) > maxSaved {
		return fmt.Errorf("%s has more than %d KiB", resolvConf, maxSaved>>10)
	}
	text := overlay{owner: f.Journal, lists: f.lists, before: before}.render()
	if p.file == nil {
		return replace(func() error { return writeNew(nextConf, text) })
	}
	// An edited one can be longer: a run that is killed before the cut leaves empty lines.
	if err := p.write(text + strings.Repeat("\n", max(0, len(p.text)-len(text)))); err != nil {
		return err
	}
	c.report(ctx, m, before)
	if len(p.text) > len(text) {
		return p.cut(len(text))
	}
	return nil
}

// Remove implements journal.Fact.
func (f File) Remove(ctx context.Context, m journal.Machine) error {
	c := cmdrun.Command{Program: "rm", Args: []string{"-f", nextConf}}
	p, err := openPlace(os.O_RDONLY)
	if err != nil {
		return err
	}
	p.close()
	if over, is, err := f.cover(p); err != nil {
		return err
	} else if is {
		c = over.mended(f.lists).command()
	}
	c.Do = func() error { return f.remove(ctx, m) }
	_, err = m.Run.Run(ctx, c)
	return err
}

// command returns how a person would bring s back.
func (s saved) command() cmdrun.Command {
	switch s.kind {
	case savedLink:
		return cmdrun.Command{Program: "ln", Args: []string{"-sf", s.text, resolvConf}}
	case savedNone:
		return cmdrun.Command{Program: "rm", Args: []string{resolvConf}}
	default:
		return cmdrun.Command{Program: "tee", Args: []string{resolvConf}, Input: s.text}
	}
}

func (f File) remove(ctx context.Context, m journal.Machine) error {
	if err := os.Remove(nextConf); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	p, err := openPlace(os.O_RDWR)
	if err != nil {
		return err
	}
	defer p.close()
	c, is, err := f.cover(p)
	if err != nil || !is {
		return err
	}
	back := c.mended(f.lists)
	if err := p.restore(back); err != nil {
		return err
	}
	c.report(ctx, m, back)
	return nil
}

// restore brings back what an overlay contains.
func (p *place) restore(before saved) error {
	switch before.kind {
	case savedLink:
		return replace(func() error { return os.Symlink(before.text, nextConf) })
	case savedNone:
		return os.Remove(resolvConf)
	default:
		if err := p.write(tornRestore(before.text, len(p.text))); err != nil {
			return err
		}
		return p.cut(len(before.text))
	}
}

// place is what is at /etc/resolv.conf.
type place struct {
	saved
	file *os.File // nil unless it is a file
}

// Limits in bytes: DHCP servers and other programs can write to the file. An overlay, with three
// characters more in each line, is shorter than what is read.
const (
	maxFile  = 256 << 10
	maxSaved = 48 << 10
)

// openPlace opens the file, with os.O_RDONLY or os.O_RDWR. The caller closes it. A program that has
// moved an overlay elsewhere, and links to it, has not changed whose it is: it is opened there.
func openPlace(flag int) (*place, error) {
	p, err := openAt(resolvConf, flag)
	if err != nil || p.kind != savedLink {
		return p, err
	}
	text, err := read(resolvConf)
	if _, is := uncover(text, lists{}); err != nil || !is {
		return p, nil //nolint:nilerr // what it leads to cannot be an overlay
	}
	target, err := filepath.EvalSymlinks(resolvConf)
	if err != nil {
		return nil, err
	}
	return openAt(target, flag)
}

// cover returns the overlay that is there, and reports whether there is one, see uncover.
func (p *place) cover(known lists) (cover, bool) {
	if p.kind != savedFile {
		return cover{}, false
	}
	return uncover(p.text, known)
}

func (p *place) close() {
	if p.file != nil {
		_ = p.file.Close()
	}
}

// write writes text over the file, which is seldom longer, in one call: a run that is killed has
// written all or nothing of it.
func (p *place) write(text string) error {
	if _, err := p.file.WriteAt([]byte(text), 0); err != nil {
		// Without room, for example: what was there has its room still.
		_, again := p.file.WriteAt([]byte(p.text), 0)
		return errors.Join(err, again, p.file.Truncate(int64(len(p.text))))
	}
	return p.file.Sync()
}

// cut cuts the file off.
func (p *place) cut(size int) error {
	return errors.Join(p.file.Truncate(int64(size)), p.file.Sync())
}

// replace renames over the file what create makes at nextConf, which may be there of a run that was
// killed.
func replace(create func() error) error {
	if err := os.Remove(nextConf); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := create(); err != nil {
		return err
	}
	if err := os.Rename(nextConf, resolvConf); err != nil {
		return errors.Join(err, os.Remove(nextConf))
	}
	return nil
}

// writeNew makes a file that everybody may read.
func writeNew(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	// the mode is without the umask; a symbolic link has none
	if err := errors.Join(err, file.Chmod(0o644), file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
