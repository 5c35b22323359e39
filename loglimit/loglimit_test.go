package loglimit

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// logged returns what f logs through a Handler, with fake time, one line each without its time.
func logged(t *testing.T, f func(log *slog.Logger, h *Handler)) (lines []string) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		var out bytes.Buffer
		h := New(slog.NewTextHandler(&out,
			&slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			}}))
		f(slog.New(h), h)
		h.Close()
		lines = strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	})
	return lines
}

// count returns how many lines have all of texts.
func count(lines []string, texts ...string) (n int) {
	for _, line := range lines {
		has := true
		for _, text := range texts {
			has = has && strings.Contains(line, text)
		}
		if has {
			n++
		}
	}
	return n
}

// One token logs in 800 times a second; another, once. What was left out is told.
func TestNoisyToken(t *testing.T) {
	lines := logged(t, func(log *slog.Logger, _ *Handler) {
		for i := range 15 * 800 {
			noisy := log.With("remote", fmt.Sprintf("192.0.2.1:%d", i), "token", "noisy")
			noisy.Info("connected")
			noisy.Info("disconnected", "reason", "closed")
			time.Sleep(time.Second / 800)
		}
		log.With("remote", "192.0.2.2:1", "token", "quiet").Info("connected")
		time.Sleep(10 * time.Second)
		log.Info("connected", "remote", "192.0.2.1:1", "token", "noisy")
	})
	if n := count(lines, "connected", "token=noisy"); n > 2*(known+3+2) {
		t.Errorf("%d lines of the noisy token", n)
	}
	if count(lines, "token=quiet") != 1 || count(lines, "token=quiet", suppressedKey) != 0 {
		t.Error("the quiet token's line is missing, or counts another's")
	}
	last := lines[len(lines)-2:]
	if count(last, "msg=connected", "suppressed=") != 1 || count(last, `msg="lines left out"`,
		"of=disconnected", "token=noisy", "suppressed=") != 1 {
		t.Errorf("the last lines are %q", last)
	}
	total := 0
	for _, line := range lines {
		n := 0
		if _, after, ok := strings.Cut(line, "suppressed="); ok {
			_, _ = fmt.Sscan(after, &n)
		}
		if !strings.Contains(line, "lines left out") {
			n++
		}
		total += n
	}
	if want := 2*15*800 + 2; total != want {
		t.Errorf("logged and counted %d lines; want %d", total, want)
	}
}

// A thousand clients of their own tokens come back at once, with four connections each: no line is
// lost.
func TestCrowdIsLoggedWhole(t *testing.T) {
	lines := logged(t, func(log *slog.Logger, _ *Handler) {
		for i := range 1000 {
			client := log.With("remote", "192.0.2.1:1", "token", fmt.Sprint("client", i))
			client.Info("disconnected")
			client.Info("connected")
			for lane := range 3 {
				client.Info("lane connected", "lane", lane+1)
			}
		}
	})
	if len(lines) != 5000 || count(lines, suppressedKey) > 0 {
		t.Errorf("%d lines, %d of them with a count", len(lines), count(lines, suppressedKey))
	}
}

// Unauthenticated clients write no more from many addresses than a person reads, and one of them
// does not take all of it.
func TestUnauthenticated(t *testing.T) {
	lines := logged(t, func(log *slog.Logger, _ *Handler) {
		for i := range 1000 {
			// one /64
			log.Warn("refused", "remote", fmt.Sprintf("[2001:db8::%x]:%d", i%256, i), "err",
				"wrong token")
		}
		log.Warn("refused", "remote", "192.0.2.1:1", "err", "wrong token")
	})
	if count(lines, "2001:db8") != oneUnauthenticated || count(lines, "192.0.2.1") != 1 ||
		count(lines, "192.0.2.1", "suppressed=995") != 1 {
		t.Errorf("logged %q", lines)
	}
	lines = logged(t, func(log *slog.Logger, h *Handler) {
		for i := range 60 * 1000 {
			log.Warn("refused", "remote", fmt.Sprintf("[2001:db8:%x:%x::1]:1", i>>16, i&0xffff))
			time.Sleep(time.Millisecond)
		}
		if n := len(h.limits.sources); n > maxSources {
			t.Errorf("%d sources are remembered", n)
		}
	})
	if n := count(lines, "msg=refused"); n > unauthenticated+60/5+1 {
		t.Errorf("%d lines in a minute", n)
	}
}

// What is left out at the end of an attack is told within a minute, without another line of that
// kind.
func TestToldLater(t *testing.T) {
	logged(t, func(log *slog.Logger, h *Handler) {
		for range known + 7 {
			log.Info("not connected")
		}
		time.Sleep(told)
		synctest.Wait()
		h.limits.mu.Lock()
		defer h.limits.mu.Unlock()
		for _, b := range h.limits.kinds {
			if b.unsaid != 0 {
				t.Errorf("%d lines are not told of", b.unsaid)
			}
		}
	})
}

// Values that come from others are cut; a stack, which is ours, is not.
func TestLongValues(t *testing.T) {
	long := strings.Repeat("ä", 100_000)
	lines := logged(t, func(log *slog.Logger, _ *Handler) {
		log.With("with", long).Warn("not connected", "reason", errors.New(long), "status", long,
			"any", []string{long}, "short", "ä")
		log.Error("a defect", "stack", long)
	})
	if n := len(lines[0]); n > 5*maxValue || count(lines[:1], "short=ä", "bytes more") != 1 ||
		strings.ContainsRune(lines[0], '\ufffd') {
		t.Errorf("%d bytes: %.3000s", n, lines[0])
	}
	if len(lines[1]) < len(long) {
		t.Errorf("the stack is cut to %d bytes", len(lines[1]))
	}
}
