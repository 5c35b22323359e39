// Package docs has the tests of the documents: that they do not lose a command, and that every
// file, link and heading that they name exists.
package docs

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
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
