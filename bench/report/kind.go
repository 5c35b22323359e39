package report

// Figure is one thing that is measured, in a unit.
type Figure struct {
	ID     string
	Title  string
	Unit   string
	Higher bool // is better
}

// Group is a set of figures that are measured together.
type Group struct {
	Name    string // for -only
	Title   string
	Explain string // how it is measured, for the report
	Plots   []Plot
}

// Plot is a file with a chart: figures of one unit, whose bars stand side by side.
type Plot struct {
	File  string // without .svg
	Title string
	IDs   []string
}

// ids returns the figures of a group.
func (g Group) ids() []string {
	var list []string
	for _, p := range g.Plots {
		list = append(list, p.IDs...)
	}
	return list
}
