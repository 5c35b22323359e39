package status

import (
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tunnel/policy"
	"tunnel/server/admission"
)

// TestSchema holds docs/STATUS.md to the JSON of Reports: every field, with its kind. Scripts
// depend on them.
func TestSchema(t *testing.T) {
	text, err := os.ReadFile("../../docs/STATUS.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_.\\[\\]]+)` \\| (\\w+) \\|").
		FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, m[1]+" "+m[2])
	}
	fields := fieldsOf(reflect.TypeFor[Report](), "")
	for _, f := range fieldsOf(reflect.TypeFor[FlowsReport](), "") {
		if !slices.Contains(fields, f) { // both have a hub and clients
			fields = append(fields, f)
		}
	}
	for _, f := range fields {
		if !slices.Contains(documented, f) {
			t.Errorf("docs/STATUS.md lacks %s", f)
		}
	}
	for _, d := range documented {
		if !slices.Contains(fields, d) {
			t.Errorf("docs/STATUS.md has %s, which nothing prints", d)
		}
	}
	if len(fields) < 70 {
		t.Errorf("found %d fields only", len(fields))
	}
	var drops policy.Drops
	var refused admission.Refusals
	for _, counts := range []map[string]uint64{drops.Counts(policy.HubReasons()),
		drops.Counts(policy.ClientReasons()), refused.Counts()} {
		for reason := range counts {
			if !strings.Contains(string(text), "`"+reason+"`") {
				t.Errorf("docs/STATUS.md lacks the reason %s", reason)
			}
		}
	}
}

// fieldsOf returns the fields of a struct as paths in its JSON, with their kinds.
func fieldsOf(of reflect.Type, path string) (all []string) {
	for _, f := range reflect.VisibleFields(of) {
		if len(f.Index) > 1 { // of an embedded struct, which comes by itself
			continue
		}
		if f.Anonymous {
			all = append(all, fieldsOf(f.Type, path)...)
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		all = append(all, kindsOf(f.Type, path+name)...)
	}
	return all
}

func kindsOf(of reflect.Type, path string) []string {
	switch of {
	case reflect.TypeFor[time.Time](), reflect.TypeFor[netip.Addr](), reflect.TypeFor[netip.Prefix]():
		return []string{path + " string"}
	}
	switch of.Kind() {
	case reflect.Pointer:
		return kindsOf(of.Elem(), path)
	case reflect.Struct:
		return append([]string{path + " object"}, fieldsOf(of, path+".")...)
	case reflect.Slice:
		below := kindsOf(of.Elem(), path+"[]")
		if of.Elem().Kind() == reflect.Struct && len(below) > 1 {
			return append([]string{path + " array"}, below[1:]...)
		}
		return []string{path + " array"}
	case reflect.Map:
		return []string{path + " object"}
	case reflect.String:
		return []string{path + " string"}
	case reflect.Bool:
		return []string{path + " boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Float64:
		return []string{path + " number"}
	}
	panic(fmt.Sprintf("%s is of kind %s", path, of.Kind()))
}

func TestNear(t *testing.T) {
	for used, near := range map[int64]bool{0: false, 79: false, 80: true, 100: true} {
		if got := (Limit{Used: used, Most: 100}).Near(); got != near {
			t.Errorf("%d of 100: %v", used, got)
		}
	}
}
