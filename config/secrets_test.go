package config

import (
	"fmt"
	"strings"
	"testing"

	"tunnel/config/setting"
)

const secret = "s3cr3t-of-16-bytes-or-more"

// fileOf returns a source that is a file.
func fileOf(text string) setting.Sources {
	return setting.Sources{File: &setting.File{Name: "a.yaml", Data: []byte(text)}}
}

// TestSecretsInErrors looks for a secret in what is said of wrong values, for each setting that may
// have one and each way to give it.
func TestSecretsInErrors(t *testing.T) {
	shapes := map[string][]string{
		"token": {"%s ", "%s\n", "ä%s", "|%s", ">%s"},
		"header": {"%s", "X-Key: %s", "Authorization: Basic %s==", "a b=%s", "=%s", "Key=%s\x01",
			"Upgrade=%s", "|%s"},
		"proxy": {"ftp://user:%s@proxy", "http://user:%s%%zz@proxy:3128", "http://%s@proxy/x",
			"user:%s/2@proxy:3128", "http://u:%s@proxy:99999", "|http://user:%s@proxy",
			"socks5://:%s@proxy", "http://proxy:3128/?%s"},
		"url": {"wss://user:%s%%zz@a.b", "wss://user:%s@[::1", "ftp://user:%s@a.b",
			"wss://user:%s@a b", "wss://user:%s@a.b", "http://user:%s@a.b", "user:%s@a.b",
			"wss://user:12%s@a.b", "http://a.b?%s", "ws://a.b#%s", "ws://a.b:0?%s", "ws:///?%s",
			"x://a.b?%s", "%s", "wss://a.b %s", "wss://a.b:%s", "wss://a.b/%%zz%s",
			"|wss://u:%s@a.b", "ws://אa.example?%s", "//u:%s@a.b", "wss:/u:%s@a.b", "wss:u:%s@a.b",
			"wss://a.b;%s", "wss:///u:%s@a.b", "wss//u:%s@a.b"},
		"acme-directory": {"http://u:%s@a.b", "https://u:%s%%zz@a.b", "ftp://a.b?%s", "https://?%s",
			"u:%s@a.b/dir", "https:/u:%s@a.b"},
		"acme":          {"u:%s@a.b", "https://u:%s@a.b/"},
		"public":        {"u:%s@a.b", "https://u:%s@a.b/"},
		"listen":        {"u:%s@a.b", "https://u:%s@a.b/"},
		"trusted-proxy": {"u:%s@a.b", "https://u:%s@a.b/"},
	}
	ofServe := map[string]bool{}
	for _, s := range DefaultServe().Settings() {
		ofServe[s.Name] = s.Name != "token"
	}
	for name, texts := range shapes {
		for _, text := range texts {
			text = fmt.Sprintf(text, secret)
			var from []setting.Sources
			if !strings.ContainsAny(text[:1], "|>") {
				from = append(from, setting.Sources{Flags: map[string][]string{name: {text}}},
					fileOf(fmt.Sprintf("%s: %q\n", name, text)),
					setting.Sources{Lookup: func(v string) (string, bool) {
						return text, v == (&setting.Setting{Name: name}).Variable()
					}})
			}
			from = append(from, fileOf(fmt.Sprintf("%s: %s\n", name, text)))
			for i, source := range from {
				var err error
				if ofServe[name] {
					_, err = LoadServe(source)
				} else {
					_, err = LoadConnect(source)
				}
				if err == nil && i < len(from)-1 {
					t.Errorf("%s: %q: no error", name, text)
				}
				if err != nil && strings.Contains(err.Error(), secret) {
					t.Errorf("%s: %q: %v", name, text, err)
				}
			}
		}
	}
}

// TestSecretsInFiles looks for a secret in what is said of files that are wrong as a whole.
func TestSecretsInFiles(t *testing.T) {
	for _, text := range []string{
		"%YAML SECRET", "%SECRET", "SECRET", "- SECRET", "[SECRET", "{SECRET", "SECRET: &",
		"a:b:SECRET:::", "SECRET SECRET: x", "? {SECRET: b}\n: c", "token: [SECRET",
		"token: {a: SECRET}", "token: !SECRET x", "token: *SECRET", "token: &SECRET",
		"token: \"SECRET", "token: 'SECRET", "\t: SECRET", "token: a\n SECRET",
		"token: a: SECRET", "token: @SECRET", "token: `SECRET", "token: SECRET\ntoken: SECRET",
		"SECRET!: x\nSECRET!: y", "token_SECRET: a", "token: \"\\SECRET\"", "token: |SECRET",
		"token: >-SECRET", "mtu: &a SECRET", "mtu: SECRET", "plain: SECRET", "token:SECRET",
		"token=SECRET", "mtu: !!int SECRET", "<<: SECRET", "a: 1\n---\nSECRET",
		"token: SECRET\n  b: c", "header: [a=b, SECRET]",
		"root:$y$j9T$SECRET:20228:0:99999:7:::\ndaemon:*:20228:0:99999:7:::",
	} {
		text = strings.ReplaceAll(text, "SECRET", "S3cr3t+/of$16")
		for _, load := range []func(setting.Sources) error{
			func(s setting.Sources) error { _, err := LoadServe(s); return err },
			func(s setting.Sources) error { _, err := LoadConnect(s); return err },
		} {
			err := load(fileOf(text + "\n"))
			if err != nil && strings.Contains(err.Error(), "S3cr3t") {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
}

// TestUnknownKeys requires a key that is unknown in the error only if it looks like one.
func TestUnknownKeys(t *testing.T) {
	for text, want := range map[string]string{
		"netwrk: 1": "a.yaml:1:1: netwrk: unknown key: did you mean network?",
		"token_file: x": "a.yaml:1:1: this is not the name of a setting: " +
			"did you mean token-file?",
		"root:$y$j9T$x:20228:0:7:::":  "a.yaml:1:1: this is not the name of a setting",
		strings.Repeat("k", 41) + ":": "a.yaml:1:1: this is not the name of a setting",
		strings.Repeat("k", 40) + ":": "a.yaml:1:1: " + strings.Repeat("k", 40) + ": unknown key",
		"mtu: 1300\nmtu: 1400\nqlen: x": "a.yaml:2:1: mtu: this key is in line 1 already\n" +
			"a.yaml:3:7: qlen: it must be a whole number",
		"acme: a.example\nacme: b.example": "a.yaml:2:1: acme: this key is in line 1 already: " +
			"write several values as one list, `acme: [A, B]`",
		"netwrk: 1\nnetwrk: 2": "a.yaml:1:1: netwrk: unknown key: did you mean network?\n" +
			"a.yaml:2:1: netwrk: unknown key: did you mean network?",
		"mtu: [": "a.yaml:1:6: this is not YAML: look at indentation, quotation marks and " +
			"brackets, here and in the line before",
	} {
		_, err := LoadServe(fileOf(text + "\n"))
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v; want %s", text, err, want)
		}
	}
}

// TestShowHides looks for secrets in what setting.Show prints of valid values.
func TestShowHides(t *testing.T) {
	o, err := LoadConnect(setting.Sources{Flags: map[string][]string{
		"url": {"wss://a.b/ws?token=" + secret}, "proxy": {"http://" + secret + ":x@proxy"},
		"header": {"A=" + secret}, "token": {secret},
	}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := LoadServe(setting.Sources{Flags: map[string][]string{
		"acme": {"a.example"}, "acme-directory": {"https://u:" + secret + "@a.b/?x=" + secret},
		"acme-email": {"https://u:" + secret + "@a.b"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	if err := setting.Show(&shown, append(o.Settings(), s.Settings()...), o.From); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`# url: ["wss://a.b/ws?…"]`, `# proxy: "http://…@proxy"`,
		`# acme-directory: "https://…@a.b/?…"`, `# acme-email: "…@a.b"`} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(shown.String(), secret) {
		t.Error(shown.String())
	}
}
