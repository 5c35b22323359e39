// Package config has what a user can set: typed values, their defaults, and where each value came
// from. Values come from the defaults, a file, the environment and flags; each of these replaces
// the one before it. One table, the settings of Serve and of Connect, makes the flags, the keys of
// the file, `config show`, the JSON Schema and the reference.
package config

import (
	"os"
	"strings"

	"tunnel/config/setting"
)

// LoadServe returns the configuration of serve, and all its problems as setting.Errors. It is
// usable only without an error.
func LoadServe(from setting.Sources) (*Serve, error) {
	s := DefaultServe()
	s.From = setting.Origins{}
	return s, setting.Load(s.Settings(), from, s.From, s.check)
}

// LoadConnect is LoadServe for connect.
func LoadConnect(from setting.Sources) (*Connect, error) {
	o := DefaultConnect()
	o.From = setting.Origins{}
	return o, setting.Load(o.Settings(), from, o.From, o.check)
}

// Check returns all problems of a configuration whose values come from several loads.
func (s *Serve) Check() error { return checked(s.Settings(), s.From, s.check) }

// Check is that of Serve.
func (o *Connect) Check() error { return checked(o.Settings(), o.From, o.check) }

func checked(settings []*setting.Setting, from setting.Origins,
	check func(*setting.Checker)) error {
	c := setting.NewChecker(settings, from)
	check(c)
	return c.Err()
}

// Cleanup is the configuration of `tunnel cleanup`.
type Cleanup struct {
	Log

	From setting.Origins
}

// DefaultCleanup returns the defaults.
func DefaultCleanup() *Cleanup { return &Cleanup{Log: defaultCommon().Log} }

// Settings is the table of cleanup's settings, bound to c.
func (c *Cleanup) Settings() []*setting.Setting { return c.settings() }

// LoadCleanup is LoadServe for cleanup.
func LoadCleanup(from setting.Sources) (*Cleanup, error) {
	c := DefaultCleanup()
	c.From = setting.Origins{}
	return c, setting.Load(c.Settings(), from, c.From, c.check)
}

// Schema returns a JSON Schema (draft 2020-12) of the files of serve and connect, for instance for
// an editor.
func Schema() map[string]any {
	return map[string]any{
		"$schema": draft,
		"title":   "tunnel: serve.yaml or connect.yaml",
		"anyOf":   []any{reference("serve"), reference("connect")},
		"$defs": map[string]any{
			"serve":   setting.Schema(DefaultServe().Settings()),
			"connect": setting.Schema(DefaultConnect().Settings()),
		},
	}
}

const draft = "https://json-schema.org/draft/2020-12/schema"

func reference(name string) any { return map[string]any{"$ref": "#/$defs/" + name} }

// SchemaOf returns the JSON Schema of one command's file.
func SchemaOf(command string, settings []*setting.Setting) map[string]any {
	schema := setting.Schema(settings)
	schema["$schema"] = draft
	schema["title"] = "tunnel: " + command + ".yaml"
	return schema
}

// UnsetEmpty unsets empty variables of this program. Service managers and compose files write
// TUNNEL_X=${X} whether X exists or not. But an empty pin must not mean any key, nor an empty
// authority of clients that they need no certificate.
func UnsetEmpty() {
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		if value == "" && strings.HasPrefix(name, "TUNNEL_") && name != "TUNNEL_PIN" &&
			name != "TUNNEL_CLIENT_CA" {
			_ = os.Unsetenv(name)
		}
	}
}
