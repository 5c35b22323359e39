package lab_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

func TestHostsReachEachOther(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a, b, c := l.Host("a"), l.Host("b"), l.Host("c")
	aDev, bDev := l.Link(a, "198.51.100.1/24", b, "198.51.100.2/24")
	if aDev != "eth0" || bDev != "eth0" {
		t.Errorf("devices %s and %s, want eth0 twice", aDev, bDev)
	}
	sw := l.Switch("sw")
	l.Attach(b, "203.0.113.2/24", sw)
	if dev := l.Attach(c, "203.0.113.3/24", sw); dev != "eth0" {
		t.Errorf("attached by %s, want eth0", dev)
	}
	a.Hosts("198.51.100.2 peer.example")
	a.Run("ping", "-c1", "-W5", "peer.example")
	b.Run("ping", "-c1", "-W5", "203.0.113.3")
	cc := strings.TrimSpace(a.Run("cat", "/proc/sys/net/ipv4/tcp_congestion_control"))
	if cc != "cubic" {
		t.Errorf("congestion control %q, want cubic", cc)
	}
	if _, _, code := a.Try("ping", "-c1", "-W1", "203.0.113.3"); code == 0 {
		t.Error("a reached c without a route")
	}
	if _, _, code := a.Try("getent", "hosts", "nobody.example"); code == 0 {
		t.Error("a name resolved that is in no hosts file")
	}
}

func TestDialFromInside(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	a, b := l.Host("a"), l.Host("b")
	l.Link(a, "198.51.100.1/24", b, "198.51.100.2/24")
	var ln net.Listener
	err := b.Do(func() (err error) {
		ln, err = new(net.ListenConfig).Listen(t.Context(), "tcp4", "198.51.100.2:80")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := a.DialContext(t.Context(), "tcp", "198.51.100.2:80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.LocalAddr().(*net.TCPAddr).IP.String(); got != "198.51.100.1" {
		t.Errorf("dialled from %s, want 198.51.100.1", got)
	}
	if first, again, other := a.Cookie(), a.Cookie(), b.Cookie(); first != again || first == other {
		t.Errorf("cookies %d and %d of one host, %d of another", first, again, other)
	}
}

func TestProc(t *testing.T) {
	t.Parallel()
	h := lab.New(t).Host("h")
	p := h.Start("sh", "-c",
		"trap 'echo got it; exit 7' TERM; echo one; echo two >&2; while :; do sleep 0.01; done")
	if line := p.WaitFor("on", time.Minute); line != "one" {
		t.Errorf("line %q, want one", line)
	}
	p.WaitFor("two", time.Minute)
	p.Signal(syscall.SIGTERM)
	p.WaitFor("got it", time.Minute)
	if code := p.Wait(time.Minute); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	if p.Stdout() != "one\ngot it\n" || p.Stderr() != "two\n" {
		t.Errorf("stdout %q, stderr %q", p.Stdout(), p.Stderr())
	}
	q := h.Start("sleep", "1000")
	if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", q.Pid())); err == nil &&
		string(comm) != "ip\n" && string(comm) != "sleep\n" {
		t.Errorf("pid %d is of %q", q.Pid(), comm)
	}
	q.Kill()
	if code := q.Wait(time.Minute); code != -1 {
		t.Errorf("exit code of a killed program %d, want -1", code)
	}
}

// fakeTB records a lab's failure instead of failing the test.
type fakeTB struct {
	testing.TB
	cleanups []func()
	fatal    string
	log      strings.Builder
}

func (f *fakeTB) Cleanup(fn func())          { f.cleanups = append(f.cleanups, fn) }
func (f *fakeTB) Logf(s string, args ...any) { fmt.Fprintf(&f.log, s+"\n", args...) }
func (f *fakeTB) Fatalf(s string, a ...any)  { f.fatal = fmt.Sprintf(s, a...); runtime.Goexit() }
func (f *fakeTB) Failed() bool               { return f.fatal != "" }
func (f *fakeTB) run(fn func(t *fakeTB)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			for i := len(f.cleanups) - 1; i >= 0; i-- {
				f.cleanups[i]()
			}
		}()
		fn(f)
	}()
	<-done
}

func TestFatalLeavesNothing(t *testing.T) {
	t.Parallel()
	f := &fakeTB{TB: t}
	var ns string
	var pid int
	f.run(func(f *fakeTB) {
		l := lab.New(f)
		h, o := l.Host("h"), l.Host("o")
		h.Hosts("198.51.100.9 nine")
		l.Link(h, "198.51.100.1/24", o, "198.51.100.2/24")
		ns = h.NS()
		h.Run("sh", "-c", "sleep 1001 >/dev/null 2>&1 &") // outlives its parent
		p := h.Start("sh", "-c", "echo hello; exec sleep 1002")
		pid = p.Pid()
		p.WaitFor("hello", time.Minute)
		p.WaitFor("goodbye", 50*time.Millisecond)
	})
	if !strings.Contains(f.fatal, `no line 1 with "goodbye"`) || !strings.Contains(f.log.String(),
		"hello") {
		t.Errorf("fatal %q\nlog %q", f.fatal, f.log.String())
	}
	if ns == "" {
		t.Fatal("no namespace was made")
	}
	for _, path := range []string{filepath.Join("/run/netns", ns), filepath.Join("/etc/netns",
		ns)} {
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Errorf("process %d is left", pid)
	}
}

func TestSweepTakesOnlyTheDead(t *testing.T) {
	t.Parallel()
	dead := exec.CommandContext(t.Context(), "true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	gone := fmt.Sprintf("tn-%d-sweep-a", dead.Process.Pid)
	kept := fmt.Sprintf("tn-%d-sweep-b", os.Getpid())
	for _, ns := range []string{gone, kept} {
		out, err := exec.CommandContext(t.Context(), "ip", "netns", "add", ns).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	t.Cleanup(func() {
		//nolint:noctx // Cleanup has no context
		if out, err := exec.Command("ip", "netns", "del", kept).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	lab.New(t)
	if _, err := os.Stat(filepath.Join("/run/netns", gone)); !os.IsNotExist(err) {
		t.Errorf("%s of a dead process is left: %v", gone, err)
	}
	if _, err := os.Stat(filepath.Join("/run/netns", kept)); err != nil {
		t.Errorf("%s of a living process is gone: %v", kept, err)
	}
}
