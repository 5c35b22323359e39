package auth

import "testing"

// TestRedact looks for what is left of tokens' texts.
func TestRedact(t *testing.T) {
	text := tokenText(encode(random(6)), KindJoin, random(32))
	for in, want := range map[string]string{
		"":                               "",
		"no token":                       "no token",
		text:                             "tnl_…",
		"open " + text + ": no file\n":   "open tnl_…: no file\n",
		`a="` + text + `" b=tnl_x, tnl_`: `a="tnl_…" b=tnl_…, tnl_…`,
		"wss://h/ws?t=" + text + "&u=1":  "wss://h/ws?t=tnl_…&u=1",
		text + text:                      "tnl_…",
	} {
		if got := string(Redact([]byte(in))); got != want {
			t.Errorf("%q: %q; want %q", in, got, want)
		}
	}
}
