package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tunnel/config"
)

// TestFlagNames looks for the names of flags in the texts of packages other than cli and config,
// which alone know them.
func TestFlagNames(t *testing.T) {
	flags := map[string]bool{}
	for _, s := range append(config.DefaultServe().Settings(), config.DefaultConnect().Settings()...) {
		flags["--"+s.Name] = true
	}
	word := regexp.MustCompile(`--[a-z][a-z-]*`)
	set, files := token.NewFileSet(), 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch path {
		case "../cli", "../config", "../bench", "../e2e", "../stylecheck":
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files++
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			text, ok := n.(*ast.BasicLit)
			if !ok || text.Kind != token.STRING {
				return true
			}
			for _, name := range word.FindAllString(text.Value, -1) {
				if flags[name] {
					t.Errorf("%s names %s", set.Position(text.Pos()), name)
				}
			}
			return true
		})
		return nil
	})
	if err != nil || files < 100 {
		t.Errorf("%d files: %v", files, err)
	}
}
