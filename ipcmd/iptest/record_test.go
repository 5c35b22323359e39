package iptest_test

import (
	"testing"

	"tunnel/ipcmd"
	"tunnel/ipcmd/iptest"
)

func TestRecorder(t *testing.T) {
	recorder := iptest.NewRecorder(iptest.New("tun0"))
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
	if out, err := iptest.NewRecorder(nil).Run(t.Context(),
		ipcmd.LinkUp("tun0", 1400, 100)); out != nil || err != nil {
		t.Errorf("got %s, %v", out, err)
	}
}
