package cmdrun_test

import (
	"os"
	"path/filepath"
	"testing"

	"tunnel/cmdrun"
	"tunnel/ipcmd"
)

// TestExecOutlivesSignals has no signal to the program's process group end or stop ip, however
// early it comes.
func TestExecOutlivesSignals(t *testing.T) {
	dir := t.TempDir()
	const script = `#!/bin/sh
for s in HUP INT QUIT TERM USR1 TSTP; do kill -$s $$; done
echo alive
`
	if err := os.WriteFile(filepath.Join(dir, "ip"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	out, err := cmdrun.NewExec(nil).Run(t.Context(), ipcmd.LinkUp("tun0", 1400, 100))
	if err != nil || string(out) != "alive\n" {
		t.Errorf("%q, %v", out, err)
	}
}
