package statedir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tunnel/privsep/sandbox"
)

// TestAdviceKeepsForeignDirectories offers chown -R for nothing but a state directory: --state may
// be mistyped, even as /etc.
func TestAdviceKeepsForeignDirectories(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, whose directories are handed over")
	}
	owner := sandbox.User{Name: "nobody", UID: 65534, GID: 65534}
	for _, test := range []struct {
		files []string
		uid   int // of the directory
		chown bool
	}{
		{[]string{"passwd"}, 0, false},
		{[]string{"key.pem", "cert.pem"}, 0, false}, // as /etc/nginx/tls has
		{[]string{FileName, "notes"}, 0, false},
		{[]string{"passwd"}, 54321, false},
		{[]string{"cert.pem"}, 54321, false},
		{[]string{FileName, "key.pem"}, 54321, true},
		{nil, 54321, true},
	} {
		name := filepath.Join(t.TempDir(), "state")
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, file := range test.files {
			if err := os.WriteFile(filepath.Join(name, file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(name, test.uid, test.uid); err != nil {
			t.Fatal(err)
		}
		dir, _, err := Open(Choice{Dir: name, Given: true}, owner, 0)
		if err == nil {
			_ = dir.Close()
			t.Errorf("%v of user %d: it was opened", test.files, test.uid)
			continue
		}
		if text := err.Error(); strings.Contains(text, "chown -R") != test.chown ||
			!strings.Contains(text, "give a directory of its own with --state DIR") {
			t.Errorf("%v of user %d: %s", test.files, test.uid, text)
		}
	}
}
