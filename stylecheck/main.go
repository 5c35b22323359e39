// Stylecheck reports what breaks the project's rules for language and size, a line for each
// finding, as FILE:LINE: what is wrong. `make lint` runs it in the root of the repository.
//
// The rules: words.txt lists words that are not used any more; a line has at most 100 columns; a
// Go file or a script has at most 400 lines, README.md 150, a package 1,500 without its tests; a
// Go file imports in three groups; the root holds main.go as its only Go file. exceptions.txt lists
// the directories that still break a rule.
package main

import (
	"bufio"
	_ "embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

//go:embed words.txt
var wordsText string

//go:embed exceptions.txt
var exceptionsText string

func main() {
	if err := run(os.DirFS("."), os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "stylecheck:", err)
		os.Exit(1)
	}
}

// run checks a tree by the rules of this directory and prints what it finds. It returns an error
// if there is anything that no exception covers.
func run(tree fs.FS, out io.Writer) error {
	words, err := parseWords(wordsText)
	if err != nil {
		return err
	}
	exceptions, err := parseExceptions(exceptionsText)
	if err != nil {
		return err
	}
	findings, err := check(tree, words)
	if err != nil {
		return err
	}
	left := 0
	for _, f := range findings {
		if exceptions.cover(f) {
			continue
		}
		left++
		if _, err := fmt.Fprintf(out, "%s:%d: %s\n", f.file, f.line, f.text); err != nil {
			return err
		}
	}
	for _, e := range exceptions {
		if e.used {
			continue
		}
		if _, err := fmt.Fprintf(out,
			"stylecheck/exceptions.txt: note: %s %s is not needed any more\n",
			e.rule, e.dir); err != nil {
			return err
		}
	}
	if left > 0 {
		return fmt.Errorf("%d findings", left)
	}
	return nil
}

// A finding is one place that breaks a rule.
type finding struct {
	rule string // words, columns, lines, imports, package or root
	file string // or directory, from the root of the tree
	line int
	text string
}

// An exception excuses a directory, with those below it, or a file from one rule.
type exception struct {
	rule, dir string
	used      bool
}

type exceptions []*exception

func parseExceptions(text string) (exceptions, error) {
	var all exceptions
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || strings.HasPrefix(fields[0], "#"):
		case len(fields) != 2 || !slices.Contains([]string{"words", "columns", "lines", "package"},
			fields[0]):
			return nil, fmt.Errorf("exceptions.txt: not RULE PATH: %s", line)
		default:
			all = append(all, &exception{rule: fields[0], dir: fields[1]})
		}
	}
	return all, nil
}

// cover reports whether an exception covers the finding.
func (all exceptions) cover(f finding) bool {
	covered := false
	for _, e := range all {
		if e.rule == f.rule && (f.file == e.dir || strings.HasPrefix(f.file, e.dir+"/")) {
			e.used, covered = true, true
		}
	}
	return covered
}

// check returns what breaks a rule in the tree, in the order of the files.
func check(tree fs.FS, words []word) ([]finding, error) {
	var findings []finding
	packages := map[string]int{} // lines without tests
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && slices.Contains([]string{".git", "bin", "testdata"}, entry.Name()):
			return fs.SkipDir
		case entry.IsDir() || !isText(name):
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		found, lines := checkFile(name, text, words)
		findings = append(findings, found...)
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			packages[path.Dir(name)] += lines
		}
		return nil
	})
	for dir, lines := range packages {
		if lines > 1500 {
			findings = append(findings, finding{"package", dir, 1,
				fmt.Sprintf("package of %d lines without tests, more than 1,500", lines)})
		}
	}
	slices.SortStableFunc(findings,
		func(a, b finding) int { return strings.Compare(a.file, b.file) })
	return findings, err
}

// isText reports whether the rules hold for a file: code, scripts and documents.
func isText(name string) bool {
	switch path.Ext(name) {
	case ".go", ".md", ".sh", ".py", ".yaml", ".yml":
		return true
	}
	return path.Base(name) == "Makefile" || path.Base(name) == "Dockerfile" || name == ".ci/run"
}

// checkFile returns what breaks a rule in a file, and how many lines it has.
func checkFile(name string, text []byte, words []word) ([]finding, int) {
	var findings []finding
	add := func(rule string, line int, format string, args ...any) {
		findings = append(findings, finding{rule, name, line, fmt.Sprintf(format, args...)})
	}
	if path.Dir(name) == "." && path.Ext(name) == ".go" && name != "main.go" {
		add("root", 1, "the root holds main.go only")
	}
	lines, fence := 0, ""
	for line := range strings.Lines(string(text)) {
		lines++
		line = strings.TrimRight(line, "\n")
		if path.Ext(name) == ".md" && strings.HasPrefix(line, "```") {
			if fence == "" {
				fence = line
			} else {
				fence = ""
			}
		}
		if n := len([]rune(line)); n > 100 && !mayBeLong(name, line, fence) {
			add("columns", lines, "line of %d columns, more than 100", n)
		}
	}
	if ext := path.Ext(name); lines > 400 && (ext == ".go" || ext == ".sh" || ext == ".py") {
		add("lines", lines, "file of %d lines, more than 400", lines)
	}
	if name == "README.md" && lines > 150 {
		add("lines", lines, "README of %d lines, more than 150", lines)
	}
	if path.Ext(name) == ".go" {
		if line := misplacedImport(text); line > 0 {
			add("imports", line,
				"imports in three groups: the standard library, other modules, tunnel/…")
		}
	}
	for _, w := range words {
		w.find(name, text,
			func(line int, is string) { add("words", line, "%q: write %s", is, w.instead) })
	}
	return findings, lines
}

// mayBeLong reports whether a line of more than 100 columns cannot be wrapped: a row of a table, an
// address, a command in a document, a directive.
func mayBeLong(name, line, fence string) bool {
	if path.Ext(name) == ".md" && (strings.HasPrefix(line, "|") ||
		fence == "```shell" || fence == "```console") {
		return true
	}
	scanner := bufio.NewScanner(strings.NewReader(line))
	scanner.Split(bufio.ScanWords)
	for scanner.Scan() {
		if w := scanner.Text(); strings.Contains(w, "://") && len(w) > 40 || strings.HasPrefix(w,
			"//nolint:") {
			return true
		}
	}
	return false
}
