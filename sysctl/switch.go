package sysctl

import (
	"context"
	"fmt"
	"io/fs"

	"tunnel/cmdrun"
	"tunnel/journal"
	"tunnel/rtnl"
)

// Switch is the fact that this program has switched on a parameter that was off. To undo it is to
// switch it off. The kernel keeps a parameter for an interface as long as that lives, whatever its
// name is then.
type Switch struct {
	Setting // with the name that the interface had

	// Index is that of the interface, which decides; 0 is not known.
	Index int `json:"index,omitempty"`
	// Global reports whether the parameter for all interfaces was on, and that of this one off.
	Global bool `json:"global,omitempty"`
}

// Plan returns the Switch that a setting needs on the interface of that index, the zero Switch if
// it is on without this program. With an error it returns the Switch that it would need if it were
// off.
func Plan(s Setting, index int) (Switch, error) {
	on, global, err := s.state()
	if err == nil && on {
		return Switch{}, nil
	}
	return Switch{Setting: s, Index: index, Global: global}, err
}

// Kind implements journal.Fact.
func (s Switch) Kind() string { return "sysctl" }

func (s Switch) String() string { return s.Setting.String() + " = 1" }

// Check implements journal.Fact.
func (s Switch) Check(r journal.Rules) error {
	if err := s.Setting.Check(); err != nil {
		return fmt.Errorf("%w: %w", journal.ErrFact, err)
	}
	if r.Secure {
		return fmt.Errorf("%w: %s: a program with file capabilities does not set it", journal.ErrFact,
			s)
	}
	return nil
}

// Now returns the setting under the name that the interface has now; there is false if there is no
// such interface any more, or look is nil.
func (s Switch) Now(look rtnl.Lookup) (now Setting, there bool, err error) {
	if look == nil {
		return s.Setting, false, nil
	}
	var link rtnl.Link
	if s.Index == 0 {
		link, err = look.LinkByName(s.Dev)
	} else {
		link, err = look.LinkByIndex(s.Index)
	}
	if err != nil || link.Index == 0 {
		return s.Setting, false, err
	}
	now = Setting{Name: s.Name, Dev: link.Name}
	return now, true, now.Check()
}

// Known returns that of all which was made for the setting's interface, the zero Switch if none
// was, and the index of that interface, 0 if there is none. It is the one that has the name, or if
// none has, the one that had it and was renamed. look may be nil: the name decides, then.
func Known(all []Switch, s Setting, look rtnl.Lookup) (made Switch, index int, err error) {
	if look != nil {
		link, err := look.LinkByName(s.Dev)
		if err != nil {
			return made, 0, err
		}
		index = link.Index
	}
	for _, known := range all {
		switch {
		case known.Name != s.Name:
		case index != 0 && known.Index == index, look == nil && known.Dev == s.Dev:
			return known, index, nil
		case index == 0 && known.Dev == s.Dev && known.Index != 0:
			if _, renamed, err := known.Now(look); err != nil || renamed {
				return known, known.Index, err
			}
		}
	}
	return made, index, nil
}

// Find implements journal.Fact. If the parameter for all interfaces has been switched on since, as
// Docker does, another program relies on this one as well: it is no longer this program's.
func (s Switch) Find(m journal.Machine) (bool, error) {
	now, there, err := s.Now(m.Look)
	if err != nil || !there {
		return false, err
	}
	global, err := s.global().read()
	if err != nil || global && !s.Global {
		return false, err
	}
	return now.read()
}

// Intact reports whether the parameter is on.
func (s Switch) Intact(m journal.Machine) (bool, error) {
	now, there, err := s.Now(m.Look)
	if err != nil || !there {
		return false, err
	}
	return now.read()
}

// Shared reports whether another program has switched the parameter on for all interfaces since.
func (s Switch) Shared() bool {
	global, err := s.global().read()
	return err == nil && global && !s.Global
}

// Make switches the parameter on.
func (s Switch) Make(ctx context.Context, m journal.Machine) error {
	if s.Index == 0 || m.Look == nil || cmdrun.IsDry(m.Run) {
		_, err := m.Run.Run(ctx, s.command(true))
		return err
	}
	return s.set(ctx, m, true)
}

// Remove implements journal.Fact.
func (s Switch) Remove(ctx context.Context, m journal.Machine) error {
	return s.set(ctx, m, false)
}

// set switches the parameter on or off, where the interface is now.
func (s Switch) set(ctx context.Context, m journal.Machine, on bool) error {
	now, there, err := s.Now(m.Look)
	if err == nil && !there {
		err = &Error{Setting: s.Setting, Err: fs.ErrNotExist}
	}
	if err == nil {
		_, err = m.Run.Run(ctx, now.command(on))
	}
	return err
}

// command returns the command that a person would type. The program is not run: many machines do
// not have it, and it does not say why it fails.
func (s Setting) command(on bool) cmdrun.Command {
	value := "=0"
	if on {
		value = "=1"
	}
	return cmdrun.Command{Program: "sysctl", Args: []string{"-w", s.String() + value},
		Do: func() error { return s.write(on) }}
}
