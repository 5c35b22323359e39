package server_test

import (
	"strings"
	"testing"

	"tunnel/auth"
	"tunnel/server"
)

// A server does not start when a field that must be set is not: without an Authenticator, nil
// or a Store that is nil, nobody may be admitted.
func TestConfigMustBeSet(t *testing.T) {
	var config server.Config
	h := serve(t, "10.1.1.0/24", func(c *server.Config) { config = *c })
	if err := h.Stop(); err != nil {
		t.Fatal(err)
	}
	var none *auth.Store
	for field, unset := range map[string]func(*server.Config){
		"Device":       func(c *server.Config) { c.Device = nil },
		"Leases":       func(c *server.Config) { c.Leases = nil },
		"Auth":         func(c *server.Config) { c.Auth = nil },
		"Auth, no nil": func(c *server.Config) { c.Auth = none },
		"Sever":        func(c *server.Config) { c.Sever = nil },
		"Log":          func(c *server.Config) { c.Log = nil },
	} {
		c := config
		unset(&c)
		name, _, _ := strings.Cut(field, ",")
		if s, err := server.New(c); s != nil || err == nil ||
			!strings.Contains(err.Error(), "Config."+name) {
			t.Errorf("%s: New returns %v, %v", field, s, err)
		}
	}
}
