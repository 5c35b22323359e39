package setting

import (
	"fmt"
	"regexp"
	"strings"
)

// Errors are all problems of a configuration, a line each.
type Errors []string

func (e Errors) Error() string { return strings.Join(e, "\n") }

// A Checker collects problems. Of several problems with one setting it keeps the first.
type Checker struct {
	From Origins // where the values came from

	settings []*Setting
	said     map[string]bool
	errors   Errors
}

// NewChecker returns a Checker of the settings whose values came from there.
func NewChecker(settings []*Setting, from Origins) *Checker {
	return &Checker{From: from, settings: settings, said: map[string]bool{}}
}

// Wrong adds a problem with the value of a setting. Its text follows the name: " 3 is too small",
// ": no such file".
func (c *Checker) Wrong(name, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if c.From[name].Rank() == 1 {
		c.About(name, "%s: %s", name, strings.TrimLeft(text, ": "))
		return
	}
	if !c.argument(name) {
		text = "--" + name + text
	}
	c.About(name, "%s", strings.TrimSpace(text))
}

// About adds a problem with a setting, or with it and others, as a complete sentence.
func (c *Checker) About(name, format string, args ...any) {
	if c.said[name] {
		return
	}
	c.said[name] = true
	text := user.ReplaceAllString(fmt.Sprintf(format, args...), "…@")
	switch place := c.From[name]; place.Rank() {
	case 1:
		text = place.in(name) + ": " + text
	case 2:
		text += " (from " + place.in(name) + ")"
	}
	c.errors = append(c.errors, text)
}

// Parts of a URL, or of what was meant to be one, that may be a user and a password: in errors all
// before an @, and in shown values only what has a colon as well, for not every @ is a URL's.
var (
	user     = regexp.MustCompile(`[^\s"]*[^\s"…]@`)
	password = regexp.MustCompile(`[^\s"]*:[^\s"]*[^\s"…]@`)
)

func (c *Checker) argument(name string) bool {
	for _, s := range c.settings {
		if s.Name == name {
			return s.Argument
		}
	}
	return false
}

// Within adds a problem if n is not between least and most.
func (c *Checker) Within(name string, n, least, most int) {
	if n < least || n > most {
		c.Wrong(name, " %d is not within %d to %d", n, least, most)
	}
}

// Given returns the first setting that was given, or the first of all if none was.
func (c *Checker) Given(names ...string) string {
	for _, name := range names {
		if c.From.Given(name) {
			return name
		}
	}
	return names[0]
}

// Said reports whether a problem with the setting is known already.
func (c *Checker) Said(name string) bool { return c.said[name] }

// Err returns the problems as Errors, nil if there are none.
func (c *Checker) Err() error {
	if len(c.errors) == 0 {
		return nil
	}
	return c.errors
}
