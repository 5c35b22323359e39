package invocation

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"tunnel/cli/failure"
	"tunnel/config/setting"
)

// Current is the configuration of a run that holds now. Its file may be read again while the run
// lasts. Methods may be called concurrently.
type Current struct {
	mu   sync.Mutex
	now  *Invocation
	next *Invocation // read, and not adopted yet; nil for none

	before  *Invocation // what held before now; nil for none
	adopted time.Time   // when before ended
}

// Grace is how long a worker may still ask for what held before: it goes by what has been adopted
// within the limit of a reload, and restores until then what it had set.
const Grace = 30 * time.Second

// Before returns what held until less than Grace ago, nil if now has held for longer.
func (c *Current) Before() *Invocation {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.adopted) >= Grace {
		c.before = nil
	}
	return c.before
}

// NewCurrent returns the Current of a run that begins with i.
func NewCurrent(i *Invocation) *Current { return &Current{now: i} }

// Get returns what holds now. It is not changed any more.
func (c *Current) Get() *Invocation {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Reread reads the configuration file again, from open if that is not nil, and returns what holds
// after the next Adopt. What needs a restart is as before, and Changes names it. With an error, a
// setting.Errors for all that is wrong with the file, nothing is to be adopted.
func (c *Current) Reread(open func(string) (*os.File, error)) (*Invocation, error) {
	next, err := c.Get().reread(open)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next = next; err != nil {
		c.next = nil
	}
	return next, err
}

// Adopt makes what Reread has returned last hold from now on.
func (c *Current) Adopt() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		return errors.New("refused: nothing was read again")
	}
	c.before, c.adopted = c.now, time.Now()
	c.now, c.next = c.next, nil
	c.now.pending.Store(false)
	c.now.level.Set(c.now.Common.Level)
	return nil
}

// Open opens the file to read that a flag gives, if next is set by what is to be adopted.
func (c *Current) Open(flag string, next bool) (*os.File, error) {
	c.mu.Lock()
	i := c.now
	if next {
		i = c.next
	}
	c.mu.Unlock()
	switch {
	case i == nil:
		return nil, errors.New("refused: nothing was read again")
	case flag == FlagConfig:
		return i.CopyOfFile()
	}
	return i.OpenOwn(flag)
}

func (i *Invocation) reread(open func(string) (*os.File, error)) (*Invocation, error) {
	judged := open != nil
	if !judged {
		open = openAgain
	}
	next := &Invocation{CLI: i.CLI, OnLink: i.OnLink, command: i.command, flags: i.flags,
		level: i.level}
	next.pending.Store(true)
	from, err := next.sources(open)
	if err != nil {
		return nil, err
	}
	if i.file != nil && next.file == nil {
		return nil, failure.Usage("--%s: %s is not there any more", FlagConfig, i.file.Name)
	}
	from.Judged = judged
	if err := next.Load(i.command, from); err != nil {
		return nil, err
	}
	next.changes = setting.Merge(i.Settings(), next.Settings(), i.Common.From, next.Common.From)
	if judged || len(next.changes.Restart) == 0 {
		return next, nil
	}
	// What needs a restart may contradict what does not.
	if err := next.check(); err != nil {
		return nil, failure.Usage("what can be changed without a restart does not go with what needs "+
			"one, %v: %w", next.changes.Restart, err)
	}
	return next, nil
}

func (i *Invocation) check() error {
	if i.Serve != nil {
		return i.Serve.Check()
	}
	return i.Connect.Check()
}

// Changes returns what Reread has found changed.
func (i *Invocation) Changes() setting.Changes { return i.changes }

// File returns the full name of the configuration file that the run reads, also while it is not
// there; "" if it reads none.
func (i *Invocation) File() string {
	name := DefaultFile(i.command)
	switch {
	case i.file != nil:
		name = i.file.Name
	case i.command == "connect" && len(i.Connect.Servers) > 0:
		return ""
	}
	if full, err := filepath.Abs(name); err == nil {
		name = full
	}
	return name
}

// openAgain is OpenFile for a file that was read before: a pipe would be empty.
func openAgain(name string) (*os.File, error) {
	file, err := OpenFile(name)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && info.Mode().Type() == fs.ModeNamedPipe {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("it is a pipe, which cannot be " +
			"read again: restart, or give a regular file")}
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}
