package setting

import (
	"reflect"
	"testing"
)

// What changes at once or later is as read, what needs a restart as before, with its origin.
func TestMerge(t *testing.T) {
	type values struct {
		a, b, c, d, secret string
		list               []string
	}
	table := func(v *values) []*Setting {
		return []*Setting{
			{Name: "a", Reload: AtOnce, Value: String(&v.a)},
			{Name: "b", Reload: NextConnection, Value: String(&v.b)},
			{Name: "c", Value: String(&v.c)},
			{Name: "d", Value: String(&v.d)},
			{Name: "secret", Reload: AtOnce, Value: Single[string]{P: &v.secret,
				Format: func(string) string { return "…" }}},
			{Name: "list", Reload: AtOnce, Value: Several[string]{P: &v.list}},
		}
	}
	old := values{a: "1", b: "1", c: "1", d: "1", secret: "x"}
	from := Origins{"d": {File: "f", Line: 9}}
	for _, test := range []struct {
		next, want values
		changes    Changes
	}{
		{old, old, Changes{}},
		{values{a: "1", b: "1", c: "1", d: "1", secret: "x", list: []string{}}, values{a: "1", b: "1",
			c: "1", d: "1", secret: "x", list: []string{}}, Changes{}},
		{values{"2", "2", "2", "2", "y", []string{"2"}}, values{"2", "2", "1", "1", "y",
			[]string{"2"}}, Changes{[]string{"a", "secret", "list"}, []string{"b"},
			[]string{"c (f:3)", "d (default)"}}},
	} {
		origins := Origins{"c": {File: "f", Line: 3}}
		next := test.next
		changes := Merge(table(&old), table(&next), from, origins)
		if !reflect.DeepEqual(changes, test.changes) || !reflect.DeepEqual(next, test.want) {
			t.Errorf("%+v: %+v and %+v", test.next, next, changes)
		}
		if len(changes.Restart) > 0 && (origins.Given("c") || origins["d"] != from["d"]) {
			t.Errorf("what is kept comes from %v", origins)
		}
	}
}
