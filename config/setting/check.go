package config

import (
	"fmt"
	"strings"
)

// Errors are all that is wrong with a configuration, a line each.
type Errors []string

func (e Errors) Error() string { return strings.Join(e, "\n") }

// checker collects what is wrong. Of several problems with one setting the first counts.
type checker struct {
	from     Origins
	settings []*Setting
	said     map[string]bool
	errors   Errors
}

func newChecker(settings []*Setting, from Origins) *checker {
	return &checker{from: from, settings: settings, said: map[string]bool{}}
}

// wrong says what is wrong with the value of a setting, by words that follow its name: " 3 is too small", ": no such file".
func (c *checker) wrong(name, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if c.from[name].rank() == 1 {
		c.about(name, "%s: %s", name, strings.TrimLeft(text, ": "))
		return
	}
	if !c.argument(name) {
		text = "--" + name + text
	}
	c.about(name, "%s", strings.TrimSpace(text))
}

// about says in a sentence of its own what is wrong with a setting, or with it and others.
func (c *checker) about(name, format string, args ...any) {
	if c.said[name] {
		return
	}
	c.said[name] = true
	text := fmt.Sprintf(format, args...)
	switch place := c.from[name]; place.rank() {
	case 1:
		text = place.in(name) + ": " + text
	case 2:
		text += " (from " + place.in(name) + ")"
	}
	c.errors = append(c.errors, text)
}

func (c *checker) argument(name string) bool {
	for _, s := range c.settings {
		if s.Name == name {
			return s.Argument
		}
	}
	return false
}

// within checks a number that must lie between least and most.
func (c *checker) within(name string, n, least, most int) {
	if n < least || n > most {
		c.wrong(name, " %d is not within %d to %d", n, least, most)
	}
}

// given returns the first of the settings that was given, or the very first if none was.
func (c *checker) given(names ...string) string {
	for _, name := range names {
		if c.from.Given(name) {
			return name
		}
	}
	return names[0]
}

func (c *checker) err() error {
	if len(c.errors) == 0 {
		return nil
	}
	return c.errors
}
