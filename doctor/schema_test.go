package doctor

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSchema holds docs/DOCTOR.md to the JSON of a Report: every field with its kind, and every
// problem. Scripts depend on them.
func TestSchema(t *testing.T) {
	text, err := os.ReadFile("../docs/DOCTOR.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented, problems []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-_.\\[\\]]+)` \\| (.+) \\|$").
		FindAllStringSubmatch(string(text), -1) {
		kind, _, isField := strings.Cut(m[2], " | ")
		if isField {
			documented = append(documented, m[1]+" "+kind)
		} else {
			problems = append(problems, m[1])
		}
	}
	fields := fieldsOf(reflect.TypeFor[Report](), "")
	if !slices.Equal(documented, fields) {
		t.Errorf("docs/DOCTOR.md has\n%s\nand the JSON\n%s", strings.Join(documented, "\n"),
			strings.Join(fields, "\n"))
	}
	var want []string
	for _, p := range Problems() {
		want = append(want, string(p))
	}
	if !slices.Equal(problems, want) {
		t.Errorf("docs/DOCTOR.md has the problems\n%s\nand there are\n%s",
			strings.Join(problems, "\n"), strings.Join(want, "\n"))
	}
	source, err := os.ReadFile("problem.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := regexp.MustCompile(`(?m)^\t\w+ +Problem = "`).FindAll(source, -1)
	if len(declared) != len(want) {
		t.Errorf("Problems has %d of %d", len(want), len(declared))
	}
}

// fieldsOf returns the fields of a struct as paths in its JSON, with their kinds.
func fieldsOf(of reflect.Type, path string) (all []string) {
	for _, f := range reflect.VisibleFields(of) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		at := path + name
		switch {
		case name == "-":
		case f.Type == reflect.TypeFor[time.Time](), f.Type.Kind() == reflect.String:
			all = append(all, at+" string")
		case f.Type.Kind() == reflect.Slice:
			all = append(append(all, at+" array"), fieldsOf(f.Type.Elem(), at+"[].")...)
		default:
			all = append(all, at+" number")
		}
	}
	return all
}

func TestJudge(t *testing.T) {
	r := Report{Machine: []Finding{{Verdict: OK}}}
	for _, v := range []Verdict{OK, Warn, Fail, Warn} {
		r.Paths = append(r.Paths, Path{Checks: []Finding{{Verdict: v}}})
		want := v
		if len(r.Paths) == 4 {
			want = Fail
		}
		if r.Judge(); r.Verdict != want {
			t.Errorf("with %s: %s", v, r.Verdict)
		}
	}
}
