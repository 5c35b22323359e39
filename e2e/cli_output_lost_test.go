package e2e

import (
	"strings"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// The first token cannot be written to stdout: stderr says how to create another one, which works.
// If stdout was written stderr says nothing.
func TestFirstTokenNotPrinted(t *testing.T) {
	t.Parallel()
	bin := plainBuild(t)
	const hint = "tunnel token create NAME"
	for name, make := range map[string]func(*testing.T) *sink{
		"read":     func(*testing.T) *sink { return nil },
		"closed":   closed,
		"null":     func(t *testing.T) *sink { return openSink(t, "/dev/null") },
		"full":     func(t *testing.T) *sink { return openSink(t, "/dev/full") },
		"broken":   brokenPipe,
		"not read": fullPipe,
	} {
		for mode, flags := range modes() {
			t.Run(mode+", "+name, func(t *testing.T) {
				t.Parallel()
				server := lab.New(t).Host("server")
				state := t.TempDir()
				srv := bin.startUnread(t, server, make(t), nil, append([]string{"serve", "--state",
					state}, flags...)...)
				awaitListen(t, server)
				if name != "read" {
					srv.WaitFor(hint, soon)
				}
				if name == "read" {
					srv.WaitFor("tunnel connect ", soon)
				}
				if secret := bin.token(t, server, state, "create", "another"); secret == "" {
					t.Error("no token")
				}
				stop(t, srv.Proc)
				if said := strings.Count(srv.Stderr(), hint); said != 1 && name != "read" ||
					said != 0 && name == "read" {
					t.Errorf("said %d times\n%s", said, srv.Stderr())
				}
			})
		}
	}
}

// A run whose output blocks fails before it is up, or keeps trying: it ends in time either way.
func TestFailureWithoutReader(t *testing.T) {
	bin := plainBuild(t)
	_, client, _ := routed(t)
	for _, keep := range []bool{false, true} {
		s := stoppedTerminal(t)
		args := []string{"connect", "ws://203.0.113.1:9", "--token", token, "--state", t.TempDir(),
			"--log-level", "debug"}
		if keep {
			args = append(args, "--keep-trying")
		}
		cl := bin.startUnread(t, client, s, s, args...)
		if keep {
			time.Sleep(2 * time.Second) // several attempts
			stopInTime(t, cl.Proc)
		} else if code := cl.Wait(10 * time.Second); code != 4 {
			t.Errorf("exit code %d, want 4", code)
		}
	}
}

// The program waits for a slow reader of --help, which gets all of it.
func TestSlowPagerGetsAll(t *testing.T) {
	t.Parallel()
	bin := plainBuild(t)
	s := fullPipe(t)
	p := bin.startUnread(t, lab.New(t).Host("pager"), s, nil, "serve", "--help")
	time.Sleep(3 * time.Second)
	if p.Exited() {
		t.Error("it ended before its output was read")
	}
	s.read(t)
	if code := p.Wait(soon); code != 0 {
		t.Errorf("exit code %d", code)
	}
	_ = s.in.Close()
	<-s.done
	if got := s.String(); !strings.Contains(got, "--user") || !strings.HasPrefix(got, "NAME:") {
		t.Errorf("got\n%s", got)
	}
}
