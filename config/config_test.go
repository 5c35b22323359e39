package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tunnel/config/setting"
)

// tables returns the settings by command.
func tables() map[string][]*setting.Setting {
	return map[string][]*setting.Setting{
		"serve": DefaultServe().Settings(), "connect": DefaultConnect().Settings(),
		"cleanup": DefaultCleanup().Settings(),
	}
}

// TestTables requires one setting for each field, and a usage for each setting.
func TestTables(t *testing.T) {
	for command, settings := range tables() {
		seen := map[string]bool{}
		for _, s := range settings {
			switch {
			case seen[s.Name]:
				t.Errorf("%s: %s is a duplicate", command, s.Name)
			case s.Usage == "" || s.Category == "":
				t.Errorf("%s: %s is not explained", command, s.Name)
			case s.Kind() != setting.Switch && strings.Count(s.Usage, "`") != 2:
				t.Errorf("%s: %s does not name its value", command, s.Name)
			case s.Input && !s.Path:
				t.Errorf("%s: %s is read, and is not a path", command, s.Name)
			}
			seen[s.Name] = true
		}
	}
	for command, fields := range map[string]int{"serve": fieldsOf(Serve{}),
		"connect": fieldsOf(Connect{})} {
		if n := len(tables()[command]); n != fields {
			t.Errorf("%s has %d fields and %d settings", command, fields, n)
		}
	}
}

// fieldsOf counts the fields of a configuration and of its embedded structs, without From.
func fieldsOf(c any) (n int) {
	for _, f := range reflect.VisibleFields(reflect.TypeOf(c)) {
		if !f.Anonymous && f.Name != "From" {
			n++
		}
	}
	return n
}

// TestDefaults loads the defaults, which must be valid.
func TestDefaults(t *testing.T) {
	serve, err := LoadServe(setting.Sources{})
	if err != nil || !reflect.DeepEqual(clear(serve), clear(DefaultServe())) {
		t.Errorf("serve: %v, %+v", err, serve)
	}
	if _, err := LoadConnect(setting.Sources{}); err != nil {
		t.Error("connect:", err)
	}
}

func clear(s *Serve) Serve {
	plain := *s
	plain.From = nil
	return plain
}

// TestLayers checks that each source overrides those above it, and that each value keeps its place.
func TestLayers(t *testing.T) {
	file := &setting.File{Name: "a.yaml",
		Data: []byte("\nmtu: 1001\nqlen: 11\npath: /file\nacme: [a.example, b.example]\n")}
	variables := map[string]string{"TUNNEL_QLEN": "12", "TUNNEL_PATH": "/variable",
		"TUNNEL_ACME": "c.example,d.example"}
	lookup := func(name string) (string, bool) { v, ok := variables[name]; return v, ok }
	s, err := LoadServe(setting.Sources{File: file, Lookup: lookup,
		Flags: map[string][]string{"path": {"/first", "/flag"}}})
	if err != nil {
		t.Fatal(err)
	}
	if s.MTU != 1001 || s.Qlen != 12 || s.Path != "/flag" || !slices.Equal(s.ACME,
		[]string{"c.example", "d.example"}) || s.Dev != "tun0" {
		t.Errorf("%+v", s)
	}
	want := setting.Origins{
		"mtu": {File: "a.yaml", Line: 2}, "qlen": {Variable: "TUNNEL_QLEN"}, "path": {Flag: true},
		"acme": {Variable: "TUNNEL_ACME"},
	}
	if !reflect.DeepEqual(s.From, want) {
		t.Errorf("from %v; want %v", s.From, want)
	}
}

// What setting.Show prints is a file that has the same values.
func TestShowRoundTrip(t *testing.T) {
	first, err := LoadServe(setting.Sources{Flags: map[string][]string{
		"listen": {"[::1]:443"}, "public": {"[2001:db8::1]:444"}, "trusted-proxy": {"127.0.0.1",
			"10.0.0.0/8"}, "lease-hold": {"1h30m"},
		"max-memory": {"1536M"}, "acme": {"A.example"}, "log-level": {"debug"},
		"client-to-client": {"true"}, "user": {"1000"},
		"audit-log-size": {"0"}, "acme-email": {"\"quoted\" \\ and: # odd"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	if err := setting.Show(&shown, first.Settings(), first.From); err != nil {
		t.Fatal(err)
	}
	second, err := LoadServe(setting.Sources{File: &setting.File{Name: "/a.yaml",
		Data: []byte(shown.String())}})
	if err != nil || !reflect.DeepEqual(clear(first), clear(second)) {
		t.Errorf("%v\n%+v\n%+v\n%s", err, clear(first), clear(second), &shown)
	}
}

// TestSecrets looks for secrets in Show's output and in errors.
func TestSecrets(t *testing.T) {
	const secret = "s3cr3t-of-16-bytes-or-more"
	o, err := LoadConnect(setting.Sources{Flags: map[string][]string{
		"token": {secret}, "header": {"Authorization=" + secret}, "proxy": {"http://user:" +
			secret + "@proxy:3128"},
		"on-up":   {`curl "https://me:pw@h/?key=` + secret + `" -H 'X-Key: ` + secret + `'`},
		"on-down": {"KEY=" + secret + " curl"},
	}})
	var shown strings.Builder
	if err := errors.Join(err, setting.Show(&shown, o.Settings(), o.From)); err != nil ||
		strings.Contains(shown.String(), secret) ||
		!strings.Contains(shown.String(), `# on-up: "curl …"`) ||
		!strings.Contains(shown.String(), `# on-down: "…"`) {
		t.Errorf("%v\n%s", err, &shown)
	}
	for name, value := range map[string]string{
		"token": secret + " ", "proxy": "ftp://user:" + secret + "@proxy", "url": "http://user:" +
			secret + "@hub.example",
	} {
		for _, file := range []bool{false, true} {
			from := setting.Sources{Flags: map[string][]string{name: {value}}}
			if file {
				from = setting.Sources{File: &setting.File{Name: "a.yaml", Data: fmt.Appendf(nil,
					"%s: %q\n", name, value)}}
			}
			if _, err := LoadConnect(from); err == nil || strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestSchema requires each key of the file in the schema, and no others.
func TestSchema(t *testing.T) {
	for _, command := range []string{"serve", "connect"} {
		properties, ok := SchemaOf(command, tables()[command])["properties"].(map[string]any)
		if !ok {
			t.Fatal(command)
		}
		for _, s := range tables()[command] {
			if (properties[s.Name] == nil) != s.FlagOnly {
				t.Errorf("%s: %s", command, s.Name)
			}
			delete(properties, s.Name)
		}
		if len(properties) > 0 {
			t.Errorf("%s: %v", command, properties)
		}
	}
}

// FuzzFile reads any bytes as a file: the result is values, or errors that name the file.
func FuzzFile(f *testing.F) {
	for _, text := range []string{"mtu: 1300", "pin: [a, b]", "a: &a [*a]", "- x", "{",
		"mtu: !!str 5", "? {a: b}\n: c", "token: |\n  a", "<<: {mtu: 1}"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := LoadServe(setting.Sources{File: &setting.File{Name: "a.yaml", Data: data}})
		var all setting.Errors
		if err != nil && !errors.As(err, &all) {
			t.Fatal(err)
		}
		for _, line := range all {
			if !strings.HasPrefix(line, "a.yaml:") {
				t.Error(line)
			}
		}
	})
}

// TestEmpty requires an error for the empty value of each setting, which would mean "none", from
// each source.
func TestEmpty(t *testing.T) {
	for command, settings := range tables() {
		for _, s := range settings {
			if s.Argument || command == "cleanup" {
				continue
			}
			from := []setting.Sources{
				{Flags: map[string][]string{s.Name: {""}}},
				{Lookup: func(v string) (string, bool) { return "", v == s.Variable() }},
			}
			if !s.FlagOnly {
				for _, text := range []string{`""`, "", "[]", `[""]`, "~"} {
					from = append(from, setting.Sources{File: &setting.File{Name: "a.yaml",
						Data: fmt.Appendf(nil, "%s: %s\n", s.Name, text)}})
				}
			}
			for _, source := range from {
				var err error
				if command == "serve" {
					_, err = LoadServe(source)
				} else {
					_, err = LoadConnect(source)
				}
				if err == nil {
					t.Errorf("%s: %s: %+v: no error", command, s.Name, source)
				}
			}
		}
	}
}

// TestForeignFile requires that a file of another user sets nothing that decides where this
// process's secrets go, what it reads, or what it runs.
func TestForeignFile(t *testing.T) {
	load := func(command, text string) error {
		from := fileOf(text + "\n")
		from.File.Owner = 33333
		if command == "serve" {
			_, err := LoadServe(from)
			return err
		}
		_, err := LoadConnect(from)
		return err
	}
	const says = "is set by another user (uid 33333)"
	for command, lines := range map[string][]string{
		"connect": {
			"url: wss://a.example", "proxy: http://a.example:3128", "allow-plain: true",
			"pin: sha256:77aab346ef7338409bf7451ecf6ef15a5b4db23d1ed4c77b1a4618915a195a63",
			"ca: x", "tls-cert: x", "tls-key: x", "token-file: x", "state: x", "user: nobody",
			"no-sandbox: true", "on-up: id", "on-down: id", "header: Host=a.example",
			"accept: all", "accept-dns: true", "exclude: 192.0.2.0/24", "full-tunnel: true",
			"no-lan: true", "kill-switch: true", "allow-inbound: true", "confirm: 1m",
			"advertise: 192.168.1.0/24", "masquerade: true", "metrics: unix:/run/x",
		},
		"serve": {
			"tls-cert: x", "tls-key: x", "client-ca: x", "acme-ca: x", "token-file: x", "state: x",
			"user: nobody", "no-sandbox: true", "push-route: 192.168.1.0/24", "masquerade: true",
			"masquerade-only: 192.168.1.0/24", "metrics: 127.0.0.1:9000", "web: localhost:8444",
			"audit-log: /var/log/x", "on-up: id", "on-down: id", "on-connect: id",
			"on-disconnect: id",
		},
	} {
		for _, line := range lines {
			if err := load(command, line); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %s: %v; want one that %s", command, line, err, says)
			}
		}
		for _, line := range []string{"mtu: 1300", "token: 0123456789abcdef", "network: 10.2.0.0/24"} {
			if err := load(command, line); err != nil {
				t.Errorf("%s: %s: %v", command, line, err)
			}
		}
		for _, s := range tables()[command] {
			if (s.Trusted || s.Path) && !strings.Contains(strings.Join(lines, "\n"), s.Name+": ") {
				t.Errorf("%s: no line for %s", command, s.Name)
			}
		}
	}
}
