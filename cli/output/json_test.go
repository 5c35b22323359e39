package output

import (
	"strings"
	"testing"
)

func TestWriteJSON(t *testing.T) {
	var text strings.Builder
	if err := WriteJSON(&text, "aé\u202e😀\x7f", false); err != nil {
		t.Fatal(err)
	}
	if want := `"a\u00e9\u202e\ud83d\ude00\u007f"` + "\n"; text.String() != want {
		t.Errorf("%q, want %q", text.String(), want)
	}
}
