package report

// Figure is a quantity that is measured.
type Figure struct {
	ID     string
	Title  string
	Unit   string
	Higher bool // more is better
}

// Group is a set of figures that are measured together.
type Group struct {
	Name    string // for -only
	Title   string
	Explain string // how it is measured, for the report
	Plots   []Plot
}

// Plot is a chart of figures of one unit, in a file.
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
