package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// `tunnel token` with a --state where no server has run: a command that only reads reports that and
// creates nothing; `create` warns on stderr that the state is new.
func TestMistypedState(t *testing.T) {
	t.Parallel()
	h := lab.New(t).Host("hub")
	bin := plainBuild(t)
	base := t.TempDir()
	empty, missing, fresh := filepath.Join(base, "empty"), filepath.Join(base, "missing"),
		filepath.Join(base, "new")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"list"}, {"revoke", "laptop"}} {
		for _, state := range []string{empty, missing} {
			cmd := bin.command(h, append(append([]string{"token"}, args...), "--state", state)...)
			stdout, stderr, code := h.TryCommand(cmd)
			if code != 13 || stdout != "" || !failureLine.MatchString(stderr) ||
				strings.Count(stderr, "\n") != 1 ||
				!strings.Contains(stderr, state) || !strings.Contains(stderr,
				": give the server's with --state DIR") {
				t.Errorf("%v in %s: exit code %d\n%s%s", args, state, code, stdout, stderr)
			}
		}
	}
	if files, err := os.ReadDir(empty); err != nil || len(files) > 0 {
		t.Errorf("made %v, %v", files, err)
	}
	if _, err := os.Lstat(missing); !os.IsNotExist(err) {
		t.Errorf("made %s: %v", missing, err)
	}
	for i, name := range []string{"laptop", "phone"} {
		stdout, stderr, code := h.TryCommand(bin.command(h, "token", "create", name, "--state",
			fresh))
		told := strings.Contains(stderr, "there is no state in "+fresh+" yet: making a new one")
		if code != 0 || !strings.HasPrefix(stdout, "tnl_") || strings.Count(stdout, "\n") != 1 ||
			told != (i == 0) {
			t.Errorf("create %s: exit code %d\n%s%s", name, code, stdout, stderr)
		}
	}
	if list := bin.token(t, h, fresh, "list"); !strings.Contains(list, "laptop") ||
		!strings.Contains(list, "phone") {
		t.Errorf("list:\n%s", list)
	}
}
