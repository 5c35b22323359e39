package machine

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"tunnel/cli/invocation"
	"tunnel/control"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
)

// A worker gets the control socket once, and cannot remove it by what it gets. The end of the run
// does.
func TestControlOnce(t *testing.T) {
	iptest.Namespace(t) // others look for sockets in that of the machine
	const dev = "tun7"
	d := &direct{current: invocation.NewCurrent(invocationOf(t, "connect", "--dev", dev)),
		beside: map[string]net.Listener{}}
	file, err := d.OpenListener(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if ln, err := net.FileListener(file); err != nil || ln.Addr().Network() != "unix" {
		t.Errorf("a client listens at %v, %v", ln, err)
	} else if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
		_ = u.Close()
	}
	_ = file.Close()
	dir, err := journal.Dir()
	if err != nil {
		t.Fatal(err)
	}
	name, err := journal.NameFor(dev)
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, name+control.ClientSuffix)
	if _, err := d.OpenListener(t.Context(), ""); err == nil {
		t.Error("it is made again")
	}
	if info, err := os.Lstat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", info, err)
	}
	all, err := journal.Beside([]string{dir}, control.ClientSuffix)
	found := false
	for _, j := range all {
		found = found || j == (journal.Named{Dir: dir, Name: name, Dev: dev})
	}
	if err != nil || !found {
		t.Errorf("it is not among %v, %v", all, err)
	}
	if _ = d.End(true, nil); d.made.host != nil {
		t.Fatal("there is a host")
	}
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}
