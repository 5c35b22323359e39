package cmdrun_test

import (
	"bytes"
	"net/netip"
	"testing"

	"tunnel/cmdrun"
	"tunnel/ipcmd"
)

func TestDryRun(t *testing.T) {
	var out bytes.Buffer
	dry := cmdrun.DryRun{W: &out}
	local, peer := netip.MustParseAddr("10.1.1.1"), netip.MustParseAddr("10.1.1.2")
	if _, err := dry.Run(t.Context(), ipcmd.AddrAdd("tun0", local, peer)); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(),
		"ip addr add dev tun0 local 10.1.1.1 peer 10.1.1.2\n"; got != want {
		t.Errorf("printed %s", got)
	}
}
