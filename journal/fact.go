package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"

	"tunnel/cmdrun"
	"tunnel/rtnl"
)

// Fact is one change that this program makes to the machine: data, never a command, so that a
// journal can only undo what a kind of fact can describe. A fact is a struct that can be compared
// with == and written as JSON.
type Fact interface {
	// Kind is the fact's kind in the file. It never changes, because a later version reads what an
	// earlier one has left.
	Kind() string
	// String describes the fact to a person.
	String() string
	// Check returns an ErrFact unless this program may have made the fact. The same check holds for
	// what is made, so that all of it can be undone, and for what a worker asks of its parent.
	Check(Rules) error
	// Find reports whether the machine has the fact, exactly as this program makes it.
	Find(Machine) (bool, error)
	// Remove undoes the fact, which Find has found.
	Remove(context.Context, Machine) error
}

// Harmless is implemented by facts whose removal may change nothing. No other is undone under
// AT_SECURE: the journal is then a file of a user who could not remove anything without this
// program.
type Harmless interface {
	Fact
	// Harmless reports whether the machine does the same without the fact.
	Harmless(Machine) (bool, error)
}

// Transient is implemented by facts that end with the process that made them, unless it is killed.
type Transient interface {
	Fact
	Transient()
}

// Many is implemented by facts of which one process can make or remove many.
type Many interface {
	Fact
	// Alone reports whether making it takes more than MakeMany does.
	Alone(Machine) (bool, error)
	// MakeMany makes facts of this kind. After an error some of them may be made.
	MakeMany(context.Context, Machine, []Fact) error
	// RemoveMany undoes facts of this kind, which Find has found. After an error some of them may be
	// left.
	RemoveMany(context.Context, Machine, []Fact) error
}

// Leaning is implemented by facts that the kernel removes with another one.
type Leaning interface {
	Fact
	// LeansOn reports whether it has to be made again after f was.
	LeansOn(f Fact) bool
}

// WithLeaning returns the facts that fit, and those that lean on one of them and must be removed
// before it.
func WithLeaning[F Fact](all []F, fits func(F) bool) []F {
	var found []F
	for _, f := range all {
		leaning, leans := any(f).(Leaning)
		leans = leans && slices.ContainsFunc(found, func(on F) bool { return leaning.LeansOn(on) })
		if leans || fits(f) {
			found = append(found, f)
		}
	}
	return found
}

// Machine is what facts are found and undone with.
type Machine struct {
	Run  cmdrun.Runner
	Look rtnl.Lookup  // nil in a dry run that cannot look
	Log  *slog.Logger // of what a person should know about an undo; nil is silent
}

// Rules are what Fact.Check goes by.
type Rules struct {
	Dev    string // the tunnel's own device; "" is not known, for a dry run
	Secure bool   // this process has rights that its user lacks, and must not lend them
}

// RulesFor returns the rules for the device dev in this process.
func RulesFor(dev string) Rules { return Rules{Dev: dev, Secure: cmdrun.SecureMode()} }

// ErrFact says that a fact is none that this program may make or undo.
var ErrFact = errors.New("not a fact of a tunnel")

// Undo removes f if the machine still has it exactly as it was made, and reports whether it removed
// something. What is gone already, alone or together with its device, is fine.
func Undo(ctx context.Context, m Machine, f Fact) (removed bool, err error) {
	there, err := f.Find(m)
	if err != nil {
		return false, fmt.Errorf("undo %s: %w", f, err)
	}
	if !there {
		return false, nil
	}
	failure := f.Remove(ctx, m)
	if failure == nil {
		return true, nil
	}
	// It may have gone between the look-up and the removal, for example with its device.
	if there, err := f.Find(m); err == nil && !there {
		return false, nil
	}
	return false, fmt.Errorf("undo %s: %w", f, failure)
}

// UndoMany removes of the facts, all of one kind, those that the machine still has, and returns
// them. It is a shortcut: what it does not return, for whatever reason, is left to Undo.
func UndoMany(ctx context.Context, m Machine, facts []Fact) (removed []Fact) {
	if len(facts) < 2 || m.Look == nil {
		return nil
	}
	now := Machine{Run: m.Run, Look: rtnl.Remember(m.Look)}
	for _, f := range facts {
		if there, err := f.Find(now); err == nil && there {
			removed = append(removed, f)
		}
	}
	if len(removed) < 2 {
		return nil
	}
	many, ok := removed[0].(Many)
	if !ok || many.RemoveMany(ctx, m, removed) != nil {
		return nil
	}
	return removed
}

// Run returns the facts at the beginning of a list, all of one kind of Many, that one process may
// treat; at least one.
func Run[F Fact](facts []F) []F {
	for i, f := range facts {
		if _, ok := Fact(f).(Many); (!ok || f.Kind() != facts[0].Kind()) && i > 0 || !ok {
			return facts[:max(i, 1)]
		}
	}
	return facts
}

// Kinds are the kinds of facts that a journal reads, by name.
type Kinds map[string]reflect.Type

// KindsOf returns the kinds of these facts, one zero value of each.
func KindsOf(facts ...Fact) Kinds {
	kinds := Kinds{}
	for _, f := range facts {
		kinds[f.Kind()] = reflect.TypeOf(f)
	}
	return kinds
}

// encode writes a fact as a line: its fields behind its kind.
func encode(f Fact) ([]byte, error) {
	kind, err := json.Marshal(f.Kind())
	if err != nil {
		return nil, err
	}
	fields, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `{"kind":%s,%s`+"\n", kind, fields[1:]), nil
}

// decode reads a line. A field that the kind does not know is an error: the fact says more than it
// could undo.
func (k Kinds) decode(line []byte) (Fact, error) {
	fields := map[string]json.RawMessage{}
	var name string
	if err := errors.Join(json.Unmarshal(line, &fields),
		json.Unmarshal(fields["kind"], &name)); err != nil {
		return nil, err
	}
	kind, known := k[name]
	if !known {
		return nil, fmt.Errorf("%w: kind %q", ErrFact, name)
	}
	delete(fields, "kind")
	rest, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	into := reflect.New(kind)
	strict := json.NewDecoder(bytes.NewReader(rest))
	strict.DisallowUnknownFields()
	if err := strict.Decode(into.Interface()); err != nil {
		return nil, err
	}
	f, isFact := into.Elem().Interface().(Fact)
	if !isFact {
		return nil, fmt.Errorf("%w: %s", ErrFact, kind)
	}
	return f, nil
}

// allows returns why a journal cannot have the fact undone; nil if it can.
func (r Rules) allows(f Fact) error {
	if _, harmless := f.(Harmless); r.Secure && !harmless {
		return fmt.Errorf("%w: %s: not undone with file capabilities", ErrFact, f)
	}
	return f.Check(r)
}

// trusted reports whether a file of the user uid may tell this process what to undo. Under
// AT_SECURE even root's may not: the user who runs the program did not write it.
func trusted(uid uint32) bool {
	if cmdrun.SecureMode() {
		return int(uid) == os.Getuid()
	}
	return uid == 0 || int(uid) == os.Geteuid()
}
