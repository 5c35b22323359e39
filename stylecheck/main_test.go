package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/fstest"
)

// findings returns what check finds in a tree of files, a line each.
func findingsIn(t *testing.T, files map[string]string) string {
	t.Helper()
	tree := fstest.MapFS{}
	for name, text := range files {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	words, err := parseWords("allow\tthe far door\n" +
		"text\t\\bdoors?\\b\tlimiter\n" +
		"name\tkick|\\w+Kick\tflush\ttransport\n")
	if err != nil {
		t.Fatal(err)
	}
	found, err := check(tree, words)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range found {
		b.WriteString(f.rule + " " + f.file + " " + f.text + "\n")
	}
	return b.String()
}

const importsFinding = "imports a/a.go " +
	"imports in three groups: the standard library, other modules, tunnel/…"

func TestCheck(t *testing.T) {
	long := strings.Repeat("x ", 60)
	for name, test := range map[string]struct{ file, text, want string }{
		"sound": {"a/a.go", "package a\n", ""},
		"word in a comment": {"a/a.go", "package a // a Door\n",
			`words a/a.go "Door": write limiter`},
		"word in a document": {"docs/A.md", "| doors |\n",
			`words docs/A.md "doors": write limiter`},
		"part of a word": {"a/a.go", "package a // indoors\n", ""},
		"allowed":        {"a/a.go", "package a // the far door\n", ""},
		"allowed and not": {"a/a.go", "package a // the far door, a door\n",
			`words a/a.go "door": write limiter`},
		"name": {"transport/a.go", "package a\n\nfunc kick() {}\n",
			`words transport/a.go "kick": write flush`},
		"name below": {"transport/fq/a.go", "package a\n\nvar lateKick = 1\n",
			`words transport/fq/a.go "lateKick": write flush`},
		"name in a comment": {"transport/a.go", "package a // kick\n", ""},
		"name elsewhere":    {"server/a.go", "package a\n\nfunc kick() {}\n", ""},
		"long line": {"a/a.go", "package a // " + long + "\n",
			"columns a/a.go line of 133 columns, more than 100"},
		"long table":   {"a.md", "| " + long + "|\n", ""},
		"long command": {"a.md", "```shell\n" + long + "\n```\n", ""},
		"after the command": {"a.md", "```shell\n```\n" + long + "\n",
			"columns a.md line of 120 columns, more than 100"},
		"long example": {"a.md", "```go\n" + long + "\n```\n",
			"columns a.md line of 120 columns, more than 100"},
		"long address": {"a.sh", "curl https://example.com/" + strings.Repeat("x", 90) +
			"\n", ""},
		"long with an short": {"a.sh", "curl https://example.com/ " + long + "\n",
			"columns a.sh line of 146 columns, more than 100"},
		"100 runes": {"a.md", strings.Repeat("é", 100) + "\n", ""},
		"long file": {"a/a_test.go", "package a\n" + strings.Repeat("\n", 400),
			"lines a/a_test.go file of 401 lines, more than 400"},
		"long document": {"docs/A.md", strings.Repeat("\n", 900), ""},
		"README":        {"README.md", strings.Repeat("\n", 150), ""},
		"long README": {"README.md", strings.Repeat("\n", 151),
			"lines README.md README of 151 lines, more than 150"},
		"imports": {"a/a.go", "package a\n\nimport (\n\t\"fmt\"\n\n\t\"example.com/b\"\n" +
			"\t_ \"golang.org/x/c\"\n\n\t\"tunnel/d\"\n)\n", ""},
		"import in the wrong group": {"a/a.go", "package a\n\nimport (\n\t\"fmt\"\n" +
			"\t\"tunnel/d\"\n)\n", importsFinding},
		"import in the wrong order": {"a/a.go", "package a\n\nimport (\n\t\"tunnel/d\"\n\n" +
			"\t\"fmt\"\n)\n", importsFinding},
		"group in two": {"a/a.go", "package a\n\nimport (\n\t\"fmt\"\n\n" +
			"\t\"io\"\n)\n", importsFinding},
		"code in the root": {"flags.go", "package main\n",
			"root flags.go the root holds main.go only"},
		"main.go in the root": {"main.go", "package main\n", ""},
		"testdata":            {"a/testdata/door.go", "package door\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := findingsIn(t, map[string]string{test.file: test.text})
			if strings.TrimSuffix(got, "\n") != test.want {
				t.Errorf("found %q, want %q", got, test.want)
			}
		})
	}
}

// TestCheckPackages counts the lines of a package without its tests, and of each package alone.
func TestCheckPackages(t *testing.T) {
	lines := func(n int) string { return "package a\n" + strings.Repeat("\n", n-1) }
	files := map[string]string{
		"a/a.go": lines(400), "a/b.go": lines(400), "a/c.go": lines(400), "a/d.go": lines(300),
		"a/a_test.go": lines(100), "a/b/b.go": lines(100),
	}
	if got := findingsIn(t, files); got != "" {
		t.Errorf("found %q in a package of 1,500 lines", got)
	}
	files["a/e.go"] = lines(1)
	if got := findingsIn(t, files); got != "package a package of 1501 lines without tests, "+
		"more than 1,500\n" {
		t.Errorf("found %q in a package of 1,501 lines", got)
	}
}

func TestExceptions(t *testing.T) {
	all, err := parseExceptions("# comment\nwords a\ncolumns b/c.go\n")
	if err != nil {
		t.Fatal(err)
	}
	for f, want := range map[finding]bool{
		{rule: "words", file: "a/b/c.go"}:  true,
		{rule: "words", file: "ab/c.go"}:   false,
		{rule: "columns", file: "a/c.go"}:  false,
		{rule: "columns", file: "b/c.go"}:  true,
		{rule: "columns", file: "b/cc.go"}: false,
	} {
		if got := all.cover(f); got != want {
			t.Errorf("%v: covered %v, want %v", f, got, want)
		}
	}
	for _, text := range []string{"words\n", "words a b\n", "worlds a\n", "root .\n"} {
		if _, err := parseExceptions(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// TestRun reports findings with their places, and fails for them.
func TestRun(t *testing.T) {
	var out bytes.Buffer
	err := run(fstest.MapFS{"zz/a.go": {Data: []byte("package zz\n\nfunc salvage() {}\n")}}, &out)
	if err == nil || !strings.HasPrefix(out.String(), "zz/a.go:3: \"salvag\": write ") {
		t.Errorf("error %v, output %q", err, out.String())
	}
}
