package hostile

import "testing"

func TestOpened(t *testing.T) {
	for output, want := range map[string]int{
		"":                                 0,
		"opened 7, failed 1, answered 0\n": 7,
		"opened 7, failed 1, answered 0\nopened 15, failed 1, answered 0\n": 15,
		"opened 7, failed 1, answered 0\nall in: 256\n":                     7,
	} {
		if got := Opened(output); got != want {
			t.Errorf("%q: %d; want %d", output, got, want)
		}
	}
}
