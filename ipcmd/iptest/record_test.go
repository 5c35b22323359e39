package ipcmd_test

import (
	"bytes"
	"testing"

	"tunnel/ipcmd"
	"tunnel/ipcmd/iptest"
)

func TestRecorder(t *testing.T) {
	recorder := ipcmd.NewRecorder(iptest.New("tun0"))
	if _, err := recorder.Run(t.Context(), ipcmd.LinkUp("tun0", 1400, 100)); err != nil {
		t.Fatal(err)
	}
	if _, err := recorder.Run(t.Context(), ipcmd.LinkUp("tun1", 1400, 100)); err == nil {
		t.Error("the next Runner's error is lost")
	}
	want := "ip link set dev tun0 up mtu 1400 qlen 100\nip link set dev tun1 up mtu 1400 qlen 100\n"
	if got := recorder.Transcript(); got != want || len(recorder.Commands()) != 2 {
		t.Errorf("got %s", got)
	}
	recorder.Reset()
	if recorder.Transcript() != "" {
		t.Error("Reset forgets nothing")
	}
	if out, err := ipcmd.NewRecorder(nil).Run(t.Context(), ipcmd.LinkUp("tun0", 1400, 100)); out != nil || err != nil {
		t.Errorf("got %s, %v", out, err)
	}
}

func TestDryRun(t *testing.T) {
	var out bytes.Buffer
	dry := ipcmd.DryRun{W: &out}
	if _, err := dry.Run(t.Context(), ipcmd.AddrAdd("tun0", addr("10.1.1.1"), addr("10.1.1.2"))); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "ip addr add dev tun0 local 10.1.1.1 peer 10.1.1.2\n"; got != want {
		t.Errorf("printed %s", got)
	}
}
