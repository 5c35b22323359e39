package tcp

import (
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BBR has forgotten the path when there is something to send after a rest and it knows much less
// than before, and only then.
func TestForgot(t *testing.T) {
	const best = 1000
	const now = time.Hour * 24
	for name, test := range map[string]struct {
		rate    uint64
		notSent uint32
		age     time.Duration // of the best rate
		rested  bool
		forgot  bool
		want    uint64 // the best rate after
	}{
		"nothing to send":             {1, backlog - 1, 0, true, false, best},
		"no rest":                     {best / 4, backlog, 0, false, false, best},
		"long no rest":                {best / 4, backlog, 2 * recentTime, false, false, best / 4},
		"nearly as much":              {best / 2, backlog, 0, true, false, best},
		"half after a rest":           {best/2 - 1, backlog, 0, true, true, best/2 - 1},
		"half after a long rest":      {best/2 - 1, backlog, time.Hour, true, true, best/2 - 1},
		"nearly as much after a rest": {best / 2, backlog, 2 * recentTime, true, false, best / 2},
		"more":                        {best + 1, backlog, 0, true, false, best + 1},
	} {
		r := rates{best: best, bestAt: now - test.age, rested: test.rested}
		if got := r.forgot(test.rate, test.notSent, now); got != test.forgot ||
			r.best != test.want {
			t.Errorf("%s: forgot: %v, the best is %d; want %v, %d", name, got, r.best, test.forgot,
				test.want)
		}
		if rested := test.rested && r.best == best || test.notSent < backlog; r.rested != rested {
			t.Errorf("%s: rested: %v", name, r.rested)
		}
	}
	if !new(rates).forgot(1, backlog, now) {
		t.Error("a socket that has only answered so far is not given a beginning")
	}
}

// The rate grows for a second after it has grown by more than a quarter over the least since it
// last did.
func TestGrows(t *testing.T) {
	var r rates
	var at time.Duration
	for i, test := range []struct {
		rate  uint64
		after time.Duration
		want  bool
	}{
		{100, 0, true}, {125, growTime - 1, true}, {125, 1, false}, {126, 0, true},
		{80, growTime, false}, {100, 0, false},
		{101, 0, true}, {126, growTime, false}, {127, 0, true},
	} {
		at += test.after
		if r.see(test.rate, at); r.grows(at) != test.want {
			t.Errorf("look %d: grows: %v; %+v", i, !test.want, r)
		}
	}
}

// BBR begins anew if it has forgotten, and the path counts as one with room for more then.
func TestFollow(t *testing.T) {
	if !HasCongestion("bbr") {
		t.Skip("this kernel has no BBR, or does not let this process choose it")
	}
	s, reader := newBusySocket(t)
	for _, forgotten := range []bool{false, true, true, false} {
		waitFor(t, "BBR leaves STARTUP", func() bool {
			now := bbrOf(t, s)
			return now.Bandwidth > 0 && now.Gain <= startupGain
		})
		func() {
			reader.Lock() // nothing is acknowledged: BBR stands still
			defer reader.Unlock()
			waitFor(t, "the window is shut", func() bool { return windowShut(t, s) })
			now := bbrOf(t, s)
			before := now.Bandwidth
			now.At, now.NotSent = 24*time.Hour, backlog
			m := start()
			m.startup.over = true
			m.rates = rates{least: before, best: before, bestAt: now.At, rested: true}
			if forgotten {
				m.rates.best = 1 << 60
			}
			m, s.Settings = decide(m, now)
			others := s.Settings // are not what this is about
			others.Restart = false
			if err := s.raw.Control(func(fd uintptr) {
				s.apply(int(fd), others,
					now)
			}); err != nil {
				t.Fatal(err)
			}
			after := bbrOf(t, s).Bandwidth
			if before == 0 || forgotten && after != 0 || !forgotten && after != before {
				t.Errorf("forgotten: %v: the rate was %d and is %d B/s", forgotten, before, after)
			}
			if grows := m.rates.grows(now.At); grows != forgotten || s.Restart != forgotten {
				t.Errorf("forgotten: %v: grows: %v, restart: %v", forgotten, grows, s.Restart)
			}
		}()
	}
}

// bbrOf returns what is known of the socket.
func bbrOf(t *testing.T, s *Tuner) (now Sample) {
	t.Helper()
	if err := s.raw.Control(func(fd uintptr) { now, _ = sample(int(fd), 0, bbr) }); err != nil {
		t.Fatal(err)
	}
	return now
}

// windowShut reports whether all segments are acknowledged and the peer has no room for another.
func windowShut(t *testing.T, s *Tuner) (shut bool) {
	t.Helper()
	if err := s.raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		shut = err == nil && info.Unacked == 0 && info.Snd_wnd < info.Snd_mss
	}); err != nil {
		t.Fatal(err)
	}
	return shut
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for late := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// newBusySocket returns a socket under BBR that sends all it can until the test ends. Its peer
// reads while reader is not locked.
func newBusySocket(t *testing.T) (s *Tuner, reader *sync.Mutex) {
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
	s, reader = NewTuner(&Conn{raw: raw}, bbr), new(sync.Mutex)
	// Without Start, which bounds what is unsent: the socket would look idle, and BBR stay in
	// STARTUP.
	if err := raw.Control(func(fd uintptr) { s.setControl(int(fd), bbr) }); err != nil ||
		s.control != bbr {
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

// BBR's gain is 0 before the first acknowledgment since it was set, or set again. That is not its
// end of STARTUP: the pace is still held back once the path is full.
func TestStartupBeforeFirstAck(t *testing.T) {
	const rate, rtt = 12_500_000, 40 * time.Millisecond
	var u startup
	s := Sample{At: time.Second, Control: bbr, MinRTT: rtt, RTT: rtt}
	if pace := u.pace(s, 0); pace != 0 || u.over {
		t.Fatalf("before the first acknowledgment: pace %d, over: %v", pace, u.over)
	}
	s.Bandwidth, s.Gain, s.RTT = rate, 739, 2*rtt
	for range 2 * fullRounds * int(s.RTT/startupEvery) {
		if u.pace(s, 0) != 0 {
			return
		}
		s.At += startupEvery
		s.Acked += rate * uint64(startupEvery) / uint64(time.Second)
	}
	t.Error("the path is full, and the pace is not held back")
}
