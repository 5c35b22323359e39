package ipcmd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"tunnel/ipcmd"
)

// No signal to the program's process group ends or stops ip, however early it comes: they are blocked
// before ip has a group of its own.
func TestExecOutlivesSignals(t *testing.T) {
	dir := t.TempDir()
	const script = `#!/bin/sh
for s in HUP INT QUIT TERM USR1 TSTP; do kill -$s $$; done
read -r pid name state parent group rest < /proc/$$/stat
echo group $group of $pid
`
	if err := os.WriteFile(filepath.Join(dir, "ip"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	out, err := ipcmd.NewExec(nil).Run(t.Context(), ipcmd.LinkUp("tun0", 1400, 100))
	if err != nil {
		t.Fatal(err)
	}
	var group, pid int
	if _, err := fmt.Sscanf(string(out), "group %d of %d", &group, &pid); err != nil || group != pid {
		t.Errorf("%q, %v", out, err)
	}
}
