// Package setting has what the settings of package config are made of: a Setting is a value that a
// user can set, bound to a field. One table of them makes flags, reads the file and the
// environment, and prints values, the JSON Schema and the reference.
package setting

import (
	"fmt"
	"strings"
)

// A Kind is the type of a setting in flags, in the file and in the schema.
type Kind string

// The kinds of settings, by their names in JSON Schema.
const (
	Text   Kind = "string"
	Number Kind = "integer"
	Switch Kind = "boolean"
	List   Kind = "array" // of texts
)

// The groups of settings in help texts.
const (
	Network = "network"
	Server  = "server"
	Machine = "this machine"
)

// A Setting is one value that a user can set. It is bound to a field of a configuration.
type Setting struct {
	Name     string // of the flag, and the key in the file
	Category string // its group in help texts
	Usage    string // for help texts; the words between backquotes stand for the value
	More     string // what the reference page adds, Markdown
	Default  string // describes a default that is found at run time; "" shows the value itself
	Secret   bool   // never shown
	Input    bool   // names a file that is read
	// names a file or directory; in the configuration file it is relative to that file's directory
	Path     bool
	Argument bool // has no flag: the arguments of the command are its values
	FlagOnly bool // cannot be in the file
	// decides where secrets go or what is done with this process's rights, as each Path does: a
	// configuration file of another user cannot have it
	Trusted  bool
	OrNumber bool // a text that the file may have as a number
	Reload   Effect

	Value Value
}

// An Effect says from when on a change of a setting holds that `tunnel reload` finds in the file.
type Effect string

// The effects, as people read them.
const (
	Restart        Effect = "" // with the next start
	AtOnce         Effect = "at once"
	NextConnection Effect = "from the next connection on"
)

// A Value is the field that a setting is bound to.
type Value interface {
	Kind() Kind
	// Set replaces the value. The error continues a sentence that begins with the setting's name.
	Set(texts []string) error
	// Texts returns the value as Set takes it, without secrets.
	Texts() []string
	// Equal reports whether other, of the same setting, is the same value, secrets included.
	Equal(other Value) bool
	// Take replaces the value by other, of the same setting.
	Take(other Value)
}

// A Masker is a Value whose Texts may leave something out.
type Masker interface {
	Masked() bool // reports whether they do
}

// Kind returns the type of the setting's value.
func (s *Setting) Kind() Kind { return s.Value.Kind() }

// Text returns the present value of a setting that has one text.
func (s *Setting) Text() string { return s.Value.Texts()[0] }

// Variable returns the name of the setting's environment variable.
func (s *Setting) Variable() string {
	return "TUNNEL_" + strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
}

// Shown returns the present value for display, quoted if it is a text; "" if there is none. Before
// Load that is the default.
func (s *Setting) Shown() string {
	if s.Default != "" && strings.Join(s.Value.Texts(), "") == "" {
		return s.Default
	}
	return s.yaml()
}

// yaml returns the present value as a file has it; "" if there is none.
func (s *Setting) yaml() string {
	texts := s.Value.Texts()
	switch {
	case strings.Join(texts, "") == "":
		return ""
	case s.Kind() == List:
		quoted := make([]string, len(texts))
		for i, text := range texts {
			quoted[i] = fmt.Sprintf("%q", text)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case s.Kind() == Text && !s.bare():
		return fmt.Sprintf("%q", texts[0])
	}
	return texts[0]
}

// bare reports whether a text is shown without quotation marks, as a time is.
func (s *Setting) bare() bool {
	b, ok := s.Value.(interface{ bare() bool })
	return ok && b.bare()
}

// masked reports whether the displayed value leaves out a secret.
func (s *Setting) masked() bool {
	m, ok := s.Value.(Masker)
	return ok && m.Masked()
}

// A Place is where a value came from. The zero Place is the default.
type Place struct {
	File     string // and Line, from 1 on
	Line     int
	Variable string // of the environment
	Flag     bool   // on the command line
}

// in returns the place of the setting name, for display.
func (p Place) in(name string) string {
	switch {
	case p.Flag:
		return "--" + name
	case p.Variable != "":
		return p.Variable
	case p.File != "":
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return "default"
}

// Rank orders places: the higher overrides the lower.
func (p Place) Rank() int {
	switch {
	case p.Flag:
		return 3
	case p.Variable != "":
		return 2
	case p.File != "":
		return 1
	}
	return 0
}

// Origins are the places of values, by the names of their settings; a missing setting has its
// default.
type Origins map[string]Place

// Given reports whether the setting was given anywhere.
func (o Origins) Given(name string) bool { return o[name] != Place{} }
