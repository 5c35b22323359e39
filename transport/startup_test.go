package transport

import (
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BBR begins anew when there is something to send after a rest in which it has forgotten the rate, and only then.
func TestBeginsAnew(t *testing.T) {
	if !HasCongestion("bbr") {
		t.Skip("this kernel has no BBR, or does not let this process choose it")
	}
	s, reader := newBusySocket(t)
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
		waitFor(t, "BBR leaves STARTUP", func() bool { return bandwidth(bbrOf(t, s)) > 0 && bbrOf(t, s).Pacing_gain <= startupGain })
		reader.Lock() // nothing is acknowledged: BBR stands still
		waitFor(t, "the window is shut", func() bool { return windowShut(t, s) })
		before := bandwidth(bbrOf(t, s))
		s.known, s.looked = test.known, now
		s.wake(test.notSent)
		after := bandwidth(bbrOf(t, s))
		reader.Unlock()
		if before == 0 || test.want && after != 0 || !test.want && after != before {
			t.Errorf("%s: the rate was %d and is %d B/s", name, before, after)
		}
		if test.notSent >= backlog && (s.known.rate < 2 || !s.known.busy.Equal(now)) {
			t.Errorf("%s: what is known is %+v", name, s.known)
		}
	}
}

// bbrOf returns what BBR knows.
func bbrOf(t *testing.T, s *socket) (bbr *unix.TCPBBRInfo) {
	t.Helper()
	var err error
	_ = s.raw.Control(func(fd uintptr) { bbr, err = unix.GetsockoptTCPCCBBRInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_CC_INFO) })
	if err != nil {
		t.Fatal(err)
	}
	return bbr
}

// windowShut tells whether all that was sent is acknowledged, and the peer has no room for another segment.
func windowShut(t *testing.T, s *socket) (yes bool) {
	t.Helper()
	_ = s.raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			t.Fatal(err)
		}
		yes = info.Unacked == 0 && info.Snd_wnd < info.Snd_mss
	})
	return yes
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for late := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// newBusySocket returns a socket under BBR that sends all it can until the test ends. Its peer reads while reader is not locked.
func newBusySocket(t *testing.T) (s *socket, reader *sync.Mutex) {
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
	s, reader = &socket{raw: raw}, new(sync.Mutex)
	if s.set("bbr"); s.now != "bbr" {
		t.Fatal("no BBR")
	}
	ended := make(chan struct{}, 2)
	go func() {
		p := make([]byte, 64<<10)
		for err := error(nil); err == nil; {
			reader.Lock()
			_, err = receiver.Read(p)
			reader.Unlock()
		}
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
	return s, reader
}
