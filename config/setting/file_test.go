package setting

import "testing"

func TestNearest(t *testing.T) {
	names := []string{"listen", "network", "token", "token-file", "tls-cert", "qlen"}
	for typed, want := range map[string]string{
		"lissten": "listen", "netwrk": "network", "Network": "network", "token_file": "token-file",
		"tokn": "token", "x": "", "frobnicate": "",
		"": "",
	} {
		if got := Nearest(typed, names); got != want {
			t.Errorf("%q: %q; want %q", typed, got, want)
		}
	}
}
