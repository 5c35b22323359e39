package cli

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each test that docs/SECURITY.md names is there, and each promise in its tables names one.
func TestSecurityNamesTests(t *testing.T) {
	text, err := os.ReadFile("../docs/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err = filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		source, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		room := path.Base(path.Dir(filepath.ToSlash(file)))
		for _, f := range function.FindAllSubmatch(source, -1) {
			there[strings.TrimPrefix(room, ".")+"."+string(f[1])] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(\\w*\\.(?:Test|Fuzz)\\w+)`")
	names := named.FindAllStringSubmatch(string(text), -1)
	for _, name := range names {
		if !there[name[1]] {
			t.Errorf("docs/SECURITY.md names %s, which is not there", name[1])
		}
	}
	if len(names) < 100 {
		t.Errorf("only %d tests are named: nothing was looked at", len(names))
	}
	promises := false
	for line := range strings.Lines(string(text)) {
		switch {
		case !strings.HasPrefix(line, "|"):
			promises = false
		case strings.HasPrefix(line, "| promise |"):
			promises = true
		case promises && !strings.HasPrefix(line, "|---") && !named.MatchString(line):
			t.Errorf("nothing holds this promise: %s", line)
		}
	}
}
