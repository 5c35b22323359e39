package dial

import (
	"net"
	"net/netip"
	"net/url"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMark connects with and without a mark. It needs CAP_NET_ADMIN, as the tests of the device do.
func TestMark(t *testing.T) {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	at := netip.MustParseAddrPort(ln.Addr().String())
	for _, mark := range []uint32{0, 0x746e} {
		d := Dialer{URL: &url.URL{Scheme: "ws", Host: at.String()}, Mark: mark}
		conn, _, err := d.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		raw, err := conn.Conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		got := -1
		if err := raw.Control(func(fd uintptr) {
			got, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK)
		}); err != nil || got != int(mark) {
			t.Errorf("mark %d: the connection has %d, %v", mark, got, err)
		}
		_ = conn.Close()
	}
}
