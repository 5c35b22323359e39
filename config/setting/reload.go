package setting

import "fmt"

// Changes are what of a configuration has changed in its sources, by the names of the settings.
type Changes struct {
	AtOnce  []string
	Later   []string // from the next connection on
	Restart []string // not before the next start; each with its place
}

// Merge compares a configuration, whose settings are now, with what was read for it again, whose
// settings are next: the same table, bound to another value. What needs a restart stays in next as
// it is in now, with its origin.
func Merge(now, next []*Setting, from, origins Origins) (c Changes) {
	for i, s := range next {
		old := now[i]
		if s.Value.Equal(old.Value) {
			continue
		}
		switch s.Reload {
		case AtOnce:
			c.AtOnce = append(c.AtOnce, s.Name)
			continue
		case NextConnection:
			c.Later = append(c.Later, s.Name)
			continue
		}
		c.Restart = append(c.Restart, fmt.Sprintf("%s (%s)", s.Name, origins[s.Name].in(s.Name)))
		s.Value.Take(old.Value)
		if place, given := from[s.Name]; given {
			origins[s.Name] = place
		} else {
			delete(origins, s.Name)
		}
	}
	return c
}
