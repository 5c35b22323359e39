package setting

import "strings"

// Sources are what values come from, behind the defaults. Each goes before those above it.
type Sources struct {
	File *File // nil for none
	// a variable of the environment, as os.LookupEnv; nil for none
	Lookup func(string) (string, bool)
	Flags  map[string][]string // what the command line says, by the name of the setting
	// Judged says that another process has found no problem: what a check would look up may be out
	// of reach here.
	Judged bool
}

// Load sets the values of the settings from their sources, notes in origins where each came from,
// and returns all problems as Errors, those that check finds included. An empty value is one: it
// may be a variable of a script that is not set, and would switch off what the setting protects.
func Load(settings []*Setting, from Sources, origins Origins, check func(*Checker)) error {
	c := NewChecker(settings, origins)
	if from.File != nil {
		c.errors = from.File.read(settings)
	}
	for _, s := range settings {
		texts, place := from.of(s)
		if (place == Place{}) {
			continue
		}
		origins[s.Name] = place
		if !s.Argument && strings.Join(texts, "") == "" {
			c.Wrong(s.Name, " is empty: give a value or leave it out")
			continue
		}
		if (s.Trusted || s.Path) && place.File != "" && from.File.Owner != 0 {
			instead := "--" + s.Name
			if s.Argument {
				instead = "it as an argument"
			}
			c.Wrong(s.Name, " is set by another user (uid %d), to whom this file belongs: `chown "+
				"root` the file, or give %s", from.File.Owner, instead)
			continue
		}
		if err := s.Value.Set(texts); err != nil {
			c.Wrong(s.Name, "%v", err)
		}
	}
	if from.Judged {
		check(NewChecker(settings, origins)) // it also decides between settings
	} else {
		check(c)
	}
	return c.Err()
}

// of returns the value of a setting from the source that overrides the others, and its place.
func (from Sources) of(s *Setting) ([]string, Place) {
	if texts, ok := from.Flags[s.Name]; ok {
		return texts, Place{Flag: true}
	}
	if from.Lookup != nil {
		if text, ok := from.Lookup(s.Variable()); ok {
			texts := []string{text}
			if s.Argument {
				texts = strings.Fields(text)
			}
			if len(texts) > 0 {
				return texts, Place{Variable: s.Variable()}
			}
		}
	}
	if from.File != nil {
		return from.File.of(s)
	}
	return nil, Place{}
}
