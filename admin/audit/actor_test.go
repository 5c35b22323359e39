package audit

import (
	"os"
	"testing"
)

func TestActor(t *testing.T) {
	for _, text := range []string{"- -", "0 -", "0 0", "0 1000", "- 4294967295"} {
		a, err := ParseActor(text)
		if err != nil || a.String() != text {
			t.Errorf("%s: %v, %v", text, a, err)
		}
	}
	for _, text := range []string{"", "0", "0 1 2", "-1 0", "0 4294967296", "a b", "0  1"} {
		if a, err := ParseActor(text); err == nil {
			t.Errorf("%q: %v", text, a)
		}
	}
	if a := Self(); a.UID == nil || int(*a.UID) != os.Getuid() || a.Login != nil && *a.Login == unset {
		t.Errorf("%v", a)
	}
}
