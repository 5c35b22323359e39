package setting

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Show writes the effective values as a configuration file, each with its place. Secrets, and
// settings without a value, are comments.
func Show(w io.Writer, settings []*Setting, from Origins) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.StripEscape)
	for _, s := range settings {
		if s.FlagOnly {
			continue
		}
		line, place := s.line(), from[s.Name].in(s.Name)
		if strings.HasPrefix(line, "#") && s.Default != "" && !from.Given(s.Name) {
			place += ": " + s.Default
		}
		_, _ = fmt.Fprintf(table, "%s\t# %s\n", line, place)
	}
	return table.Flush()
}

// line returns a setting as a line of a file.
func (s *Setting) line() string {
	value := s.yaml()
	if s.Secret {
		value = strings.Join(s.Value.Texts(), "")
	}
	hidden := password.ReplaceAllString(value, "…@")
	switch {
	case value == "":
		return "# " + s.Name + ":"
	case s.Secret:
		return "# " + s.Name + ": (hidden)"
	case s.masked() || hidden != value:
		return "# " + s.Name + ": " + hidden
	}
	return s.Name + ": " + value
}
