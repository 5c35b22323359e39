package machine

import (
	"net"
	"strings"
	"testing"

	"tunnel/cli/failure"
	"tunnel/cli/invocation"
)

func TestListen(t *testing.T) {
	ln, err := listen(t.Context(), flagListen, "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if !invocation.IsLoopback(ln.Addr()) || invocation.IsLoopback(&net.TCPAddr{IP: net.IPv4zero}) ||
		invocation.IsLoopback(&net.UnixAddr{}) {
		t.Error("loopback is not told from all else")
	}
	for address, want := range map[string]string{
		ln.Addr().String(): "listen: " + ln.Addr().String() + " is in use: end what listens there",
		"192.0.2.1:8443": "listen: this machine does not have the address of 192.0.2.1:8443: " +
			"choose another --listen, or give --freebind if the address comes later",
		"[fe80::77%nothere0]:8443": "listen: listen on [fe80::77%nothere0]:8443: this machine " +
			"has no interface nothere0: start when it is there",
		"127.0.0.1:99999": "listen: listen tcp: address 99999: invalid port: choose another " +
			"--listen",
	} {
		ln, err := listen(t.Context(), flagListen, address, false)
		if err == nil {
			_ = ln.Close()
			t.Errorf("listens on %s", address)
			continue
		}
		if got := failure.Of(err).Error(); !strings.HasPrefix(got, want) {
			t.Errorf("got %s; want %s", got, want)
		}
	}
}

// A worker gets the listener of a server once.
func TestListenOnce(t *testing.T) {
	d := &direct{current: invocation.NewCurrent(invocationOf(t, "serve", "--listen", "127.0.0.1:0"))}
	file, err := d.OpenListener(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	if _, err := d.OpenListener(t.Context(), ""); err == nil {
		t.Error("it is made again")
	}
}
