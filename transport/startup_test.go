package transport

import (
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BBR begins anew when there is something to send after a rest in which it has forgotten the rate, and only then.
func TestBeginsAnew(t *testing.T) {
	if !HasCongestion("bbr") {
		t.Skip("this kernel has no BBR, or does not let this process choose it")
	}
	s := newBusySocket(t)
	starting := func() (yes bool) {
		_ = s.raw.Control(func(fd uintptr) {
			bbr, err := unix.GetsockoptTCPCCBBRInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_CC_INFO)
			if err != nil {
				t.Fatal(err)
			}
			yes = bbr.Pacing_gain == 0 || bbr.Pacing_gain > startupGain
		})
		return yes
	}
	steady := func() {
		for late := time.Now().Add(20 * time.Second); starting(); time.Sleep(time.Millisecond) {
			if time.Now().After(late) {
				t.Fatal("BBR does not leave STARTUP")
			}
		}
	}
	now := time.Now()
	longAgo := now.Add(-restTime - 1)
	for name, test := range map[string]struct {
		known   known
		notSent uint32
		want    bool
	}{
		"nothing to send":     {known{longAgo, 1 << 60}, backlog - 1, false},
		"no rest":             {known{now, 1 << 60}, backlog, false},
		"nothing forgotten":   {known{longAgo, 1}, backlog, false},
		"forgotten":           {known{longAgo, 1 << 60}, backlog, true},
		"nothing ever to say": {known{}, backlog, true},
	} {
		steady()
		s.known, s.looked = test.known, now
		if s.wake(test.notSent); starting() != test.want {
			t.Errorf("%s: begins anew: %v", name, !test.want)
		}
	}
	steady()
	s.wake(backlog)
	if s.known.rate == 0 || !s.known.busy.Equal(now) {
		t.Errorf("what is known is %+v", s.known)
	}
}

// newBusySocket returns a socket under BBR that sends all it can until the test ends.
func newBusySocket(t *testing.T) *socket {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	sender, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	receiver, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := sender.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	s := &socket{raw: raw}
	if s.set("bbr"); s.now != "bbr" {
		t.Fatal("no BBR")
	}
	ended := make(chan struct{}, 2)
	go func() {
		_, _ = io.Copy(io.Discard, receiver)
		ended <- struct{}{}
	}()
	go func() {
		p := make([]byte, 64<<10)
		for {
			if _, err := sender.Write(p); err != nil {
				ended <- struct{}{}
				return
			}
		}
	}()
	t.Cleanup(func() {
		_, _ = sender.Close(), receiver.Close()
		<-ended
		<-ended
	})
	return s
}
