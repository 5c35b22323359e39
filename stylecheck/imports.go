package main

import (
	"go/parser"
	"go/token"
	"strings"
)

// misplacedImport returns the line of the first import of a Go file that breaks the three groups,
// with an empty line between each two: the standard library, other modules, this one.
// It returns 0 if there is none.
func misplacedImport(text []byte) int {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "", text, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return 0 // the compiler says more
	}
	lineOf := func(pos token.Pos) int { return set.Position(pos).Line }
	before, last := 0, 0 // the group of the import before, and its line
	for i, spec := range file.Imports {
		group, line := importGroup(strings.Trim(spec.Path.Value, "\"`")), lineOf(spec.Pos())
		first := line
		if spec.Doc != nil {
			first = lineOf(spec.Doc.Pos())
		}
		if apart := first > last+1; i > 0 && (group < before || apart != (group > before)) {
			return line
		}
		before, last = group, line
	}
	return 0
}

// importGroup returns the number of the group of an import: 0 for the standard library, 1 for other
// modules, 2 for this one.
func importGroup(name string) int {
	switch module, _, _ := strings.Cut(name, "/"); {
	case module == "tunnel":
		return 2
	case strings.Contains(module, "."):
		return 1
	}
	return 0
}
