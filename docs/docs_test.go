// Package docs has the tests of the documents: that they do not lose a command, and that every
// file, link and heading that they name exists.
package docs

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/golden/documented.txt")

// documents returns the Markdown documents by their paths from the root of the repository.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"../*.md", "*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			texts[filepath.ToSlash(filepath.Join("docs", name))] = string(text)
		}
	}
	if len(texts) < 9 {
		t.Fatalf("found %d documents only", len(texts))
	}
	return texts
}

// TestDocumentedCommands compares the commands that README.md and docs/OPERATIONS.md tell a person
// to run, and the ip commands that the program runs, with testdata/golden/documented.txt, byte for
// byte. Scripts and habits depend on them: a change must be deliberate, with -update.
func TestDocumentedCommands(t *testing.T) {
	const golden = "../testdata/golden/documented.txt"
	texts := documents(t)
	var got strings.Builder
	for _, name := range []string{"README.md", "docs/OPERATIONS.md"} {
		got.WriteString("== " + name + "\n")
		inside, command := false, false
		for line := range strings.Lines(texts[name]) {
			switch {
			case !strings.HasPrefix(line, "```"):
				if command || inside && strings.HasPrefix(line, "ip ") {
					got.WriteString(line)
				}
			default:
				inside = !inside
				command = inside && line == "```shell\n"
			}
		}
	}
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("documented commands:\n%swant, as in %s:\n%s", got.String(), golden, want)
	}
}

// TestLinks follows the links of the documents to files and headings of this repository.
func TestLinks(t *testing.T) {
	texts := documents(t)
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	links := 0
	for name, text := range texts {
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target, heading, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			links++
			file := name
			if target != "" {
				file = filepath.ToSlash(filepath.Join(filepath.Dir(name), target))
			}
			if _, err := os.Stat(filepath.Join("..", file)); err != nil {
				t.Errorf("%s links to %s, which does not exist", name, match[1])
			} else if heading != "" && !anchors(texts[file])[heading] {
				t.Errorf("%s links to %s, and %s has no such heading", name, match[1], file)
			}
		}
	}
	if links < 20 {
		t.Errorf("found %d links only", links)
	}
}

// anchors returns the anchors that hosts of Markdown make of the headings of a text.
func anchors(text string) map[string]bool {
	made := map[string]bool{}
	other := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	for line := range strings.Lines(text) {
		if heading := strings.TrimLeft(line, "#"); heading != line {
			heading = other.ReplaceAllString(strings.ToLower(strings.TrimSpace(heading)), "")
			made[strings.ReplaceAll(heading, " ", "-")] = true
		}
	}
	return made
}

// TestNamedFiles looks for each file and directory that docs/ARCHITECTURE.md names in backquotes.
func TestNamedFiles(t *testing.T) {
	const document = "docs/ARCHITECTURE.md"
	path := regexp.MustCompile("`((?:\\w+/)+[\\w*.-]*|[\\w-]+\\.go)`")
	// Paths of Linux, of Go modules and of what does not stand in this repository.
	foreign := regexp.MustCompile(`^(drivers|net|kernel|include|src|acme-tls)/`)
	named := 0
	for _, match := range path.FindAllStringSubmatch(documents(t)[document], -1) {
		if foreign.MatchString(match[1]) {
			continue
		}
		named++
		found, err := filepath.Glob(filepath.Join("..", match[1]))
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 {
			t.Errorf("%s names %s, which does not exist", document, match[1])
		}
	}
	if named < 40 {
		t.Errorf("found %d names of files only", named)
	}
}

// TestNamedIdentifiers looks for each name of Go that docs/ARCHITECTURE.md has in backquotes, as
// package.Name, Type.method or package.Type.method.
func TestNamedIdentifiers(t *testing.T) {
	const document = "docs/ARCHITECTURE.md"
	declared := declaredNames(t)
	name := regexp.MustCompile("`([A-Za-z]\\w*(?:\\.[A-Za-z]\\w*)+)`")
	// Names of other modules, of the log, of files and of kernel parameters (net.ipv4.…).
	foreign := []string{"DB.Batch", "control.sock", "debug.SetMemoryLimit", "drops.no_peer",
		"http.Server", "resolv.conf", "router.Config", "slog.Handler"}
	named := 0
	for _, match := range name.FindAllStringSubmatch(documents(t)[document], -1) {
		if strings.HasSuffix(match[1], ".go") || strings.HasPrefix(match[1], "net.ipv") ||
			slices.Contains(foreign, match[1]) {
			continue
		}
		named++
		if !declared[match[1]] {
			t.Errorf("%s names %s, which is not declared", document, match[1])
		}
	}
	if named < 30 {
		t.Errorf("found %d names only", named)
	}
}

// declaredNames returns the names that the packages of this module declare, as TestNamedIdentifiers
// writes them. Fields and methods are named with their type.
func declaredNames(t *testing.T) map[string]bool {
	t.Helper()
	declared := map[string]bool{}
	err := filepath.WalkDir("..", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(name) != ".go" {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		in := strings.TrimSuffix(file.Name.Name, "_test") + "."
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					declared[in+d.Name.Name] = true
					continue
				}
				method := receiver(d.Recv.List[0].Type) + "." + d.Name.Name
				declared[method], declared[in+method] = true, true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					for _, name := range specNames(spec) {
						declared[name], declared[in+name] = true, true
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return declared
}

// receiver returns the name of the type of a method's receiver.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// specNames returns the names that a declaration of types, variables or constants declares.
func specNames(spec ast.Spec) (names []string) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			names = append(names, name.Name)
		}
	case *ast.TypeSpec:
		members := &ast.FieldList{}
		switch t := spec.Type.(type) {
		case *ast.StructType:
			members = t.Fields
		case *ast.InterfaceType:
			members = t.Methods
		}
		names = append(names, spec.Name.Name)
		for _, member := range members.List {
			for _, name := range member.Names {
				names = append(names, spec.Name.Name+"."+name.Name)
			}
		}
	}
	return names
}
