package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCredentials(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credential-tun0.json")
	const elsewhere = "wss://other.example/ws"
	c, err := OpenCredentials(path)
	if err != nil || c.Get(home) != "" {
		t.Fatalf("a new file: %q, %v", c.Get(home), err)
	}
	for _, err := range []error{c.Keep(home, "tnl_first"), c.Keep(elsewhere, "tnl_other"),
		c.Keep(home, "tnl_second")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c, err = OpenCredentials(path)
	if err != nil || c.Get(home) != "tnl_second" || c.Get(elsewhere) != "tnl_other" ||
		c.Get("wss://third.example/ws") != "" {
		t.Errorf("kept %+v, %v", c, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file with secrets is %v, %v", info, err)
	}
	// What is damaged may be the only key to a server: it is not replaced by nothing.
	for _, content := range []string{"", "null", "[]", `{"wss://server.example/ws":"tnl_se`} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenCredentials(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", content, err)
		}
	}
	// One that cannot be written is not kept in memory either: the client goes on with its join
	// token.
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if err := c.Keep(home, "tnl_third"); err == nil || c.Get(home) != "tnl_second" {
		t.Errorf("without a directory: %v, %q", err, c.Get(home))
	}
	if err := (*Credentials)(nil).Keep(home, "x"); !errors.Is(err, ErrNotKept) ||
		(*Credentials)(nil).Get(home) != "" {
		t.Errorf("without a file: %v", err)
	}
}
