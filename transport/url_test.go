package transport_test

import (
	"strings"
	"testing"

	"tunnel/transport"
)

func TestParseURL(t *testing.T) {
	for in, want := range map[string]string{
		"ws://h":                  "ws://h/ws",
		"wss://h/":                "wss://h/ws",
		"wss://h:8443":            "wss://h:8443/ws",
		"ws://h/other":            "ws://h/other",
		"ws://h/a/b?key=1":        "ws://h/a/b?key=1",
		"ws://h?key=1":            "ws://h/ws?key=1",
		"ws://127.0.0.1:1":        "ws://127.0.0.1:1/ws",
		"ws://[2001:db8::1]:8443": "ws://[2001:db8::1]:8443/ws",
		"WSS://Server.Example":    "wss://Server.Example/ws",
		"ws://h:65535":            "ws://h:65535/ws",
		"ws://a_b.c-d.":           "ws://a_b.c-d./ws",
	} {
		u, err := transport.ParseURL(in)
		if err != nil || u.String() != want {
			t.Errorf("%q: %v, %v; want %s", in, u, err, want)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                  "ws:// or wss://",
		"h":                 "ws:// or wss://",
		"h:8443":            "ws:// or wss://",
		"http://h":          "ws:// or wss://",
		"https://h/ws":      "ws:// or wss://",
		"ws:/h":             "names no host",
		"ws://":             "names no host",
		"ws:///ws":          "names no host",
		"ws://:8443":        "names no host",
		"ws://h:0":          "port 0",
		"ws://h:65536":      "port 65536",
		"ws://h:99999":      "port 99999",
		"ws://h:http":       "not a URL",
		"ws://a b":          "not a URL",
		"ws://h/%zz":        "not a URL",
		"ws://h\nx":         "not a URL",
		"ws://token@h":      "token in the URL",
		"ws://u:password@h": "token in the URL",
		"ws://h/ws#part":    "fragment",
		"ws://h;password":   "names no host",
		"ws://h..h":         "names no host",
		"ws://.":            "names no host",
		"ws:///u:password@": "names no host",
		"ws:/u:password@h":  "names no host",
		"ws:u:password@h":   "names no host",
		"u:password@h":      "ws:// or wss://",
	} {
		u, err := transport.ParseURL(in)
		if err == nil {
			t.Errorf("%q is taken for %v", in, u)
			continue
		}
		if text := err.Error(); !strings.Contains(text, want) || strings.Contains(text, "\n") ||
			strings.Contains(text, "password") {
			t.Errorf("%q: %q; want one line with %q", in, text, want)
		}
	}
}
