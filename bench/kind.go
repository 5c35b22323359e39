package main

// figure is one thing that is measured, in a unit.
type figure struct {
	id     string
	title  string
	unit   string
	higher bool // is better
}

// group is a set of figures that are measured together.
type group struct {
	name    string // for -only
	title   string
	explain string // how it is measured, for the report
	plots   []plot
}

// plot is a file with a chart: figures of one unit, whose bars stand side by side.
type plot struct {
	file  string // without .svg
	title string
	ids   []string
}

// ids returns the figures of a group.
func (g group) ids() []string {
	var list []string
	for _, p := range g.plots {
		list = append(list, p.ids...)
	}
	return list
}
