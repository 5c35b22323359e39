package config

import (
	"os"
	"strings"
)

// Sources are what values come from, behind the defaults. Each goes before those above it.
type Sources struct {
	File   *File                       // nil for none
	Lookup func(string) (string, bool) // a variable of the environment, as os.LookupEnv; nil for none
	Flags  map[string][]string         // what the command line says, by the name of the setting
}

// LoadServe returns the configuration of serve, and all that is wrong with it as Errors. It is usable only without an error.
func LoadServe(from Sources) (*Serve, error) {
	s := DefaultServe()
	return s, load(s, from)
}

// LoadConnect is LoadServe for connect.
func LoadConnect(from Sources) (*Connect, error) {
	o := DefaultConnect()
	return o, load(o, from)
}

// Cleanup is what `tunnel cleanup` is told.
type Cleanup struct {
	Log

	From Origins
}

// DefaultCleanup returns the defaults.
func DefaultCleanup() *Cleanup { return &Cleanup{Log: defaultCommon().Log} }

// Settings is the table of what cleanup can be told, bound to c.
func (c *Cleanup) Settings() []*Setting { return c.settings() }

func (c *Cleanup) origins() *Origins { return &c.From }

// LoadCleanup is LoadServe for cleanup.
func LoadCleanup(from Sources) (*Cleanup, error) {
	c := DefaultCleanup()
	return c, load(c, from)
}

// target is a configuration to fill.
type target interface {
	Settings() []*Setting
	origins() *Origins
	check(c *checker)
}

func load(to target, from Sources) error {
	settings := to.Settings()
	origins := Origins{}
	*to.origins() = origins
	c := newChecker(settings, origins)
	if from.File != nil {
		c.errors = from.File.read(settings)
	}
	for _, s := range settings {
		texts, place := from.of(s)
		if (place == Place{}) {
			continue
		}
		origins[s.Name] = place
		if err := s.value.set(texts); err != nil {
			c.wrong(s.Name, "%v", err)
		}
	}
	to.check(c)
	return c.err()
}

// of returns what goes before all else that the sources say of a setting, and where they say so.
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

// UnsetEmpty makes variables of this program that are empty count as not set. Service managers and compose files write
// TUNNEL_X=${X} whether there is an X or not. But a pin that came out empty must not mean any key.
func UnsetEmpty() {
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		if value == "" && strings.HasPrefix(name, "TUNNEL_") && name != "TUNNEL_PIN" {
			_ = os.Unsetenv(name)
		}
	}
}
