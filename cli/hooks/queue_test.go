package hooks

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/time/rate"

	"tunnel/admin/audit"
	"tunnel/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// queueOf returns a Queue, and its log.
func queueOf(t *testing.T, limit, last time.Duration) (*Queue, func() string) {
	t.Helper()
	var log bytes.Buffer
	w := spool.New(&log)
	q := newQueue(slog.New(slog.NewTextHandler(w, nil)), limit, last)
	t.Cleanup(q.Close)
	return q, func() string {
		q.Close()
		w.Close(time.Now().Add(10 * time.Second))
		return log.String()
	}
}

func about(session uint64) audit.Entry {
	return audit.Entry{Event: audit.SessionEnded, Session: session, Token: "office",
		Address: netip.MustParseAddr("10.1.1.3"), Remote: "198.51.100.2:5",
		Reason: "$(touch " + "FORGED" + "); `id` \"'", Subject: "CN=a;b",
		End: &audit.End{Seconds: 61.4, Sent: 5, Received: 6}}
}

// Hooks run one after another, in order, and get values as data.
func TestQueueOrder(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("TUNNEL_TOKEN", "secret")
	q, said := queueOf(t, time.Minute, time.Minute)
	const command = `test -z "$TUNNEL_TOKEN" && mkdir busy && echo "$TUNNEL_SESSION $TUNNEL_HOOK ` +
		`$TUNNEL_CLIENT_NAME $TUNNEL_CLIENT_ADDRESS $TUNNEL_CLIENT_REMOTE $TUNNEL_CLIENT_CERT_SUBJECT ` +
		`$TUNNEL_BYTES_IN $TUNNEL_BYTES_OUT $TUNNEL_DURATION $TUNNEL_REASON" >>out && rmdir busy`
	var want strings.Builder
	for i := range uint64(50) {
		q.Add(Call{Flag: "on-disconnect", Command: command, About: about(i + 1)})
		_, _ = fmt.Fprintf(&want, "%d on-disconnect office 10.1.1.3 198.51.100.2:5 CN=a;b 6 5 61 %s\n",
			i+1, about(1).Reason)
	}
	log := said()
	if got, _ := os.ReadFile("out"); string(got) != want.String() || log != "" {
		t.Errorf("wrote\n%s\nsaid %s", got, log)
	}
	if _, err := os.Stat("FORGED"); err == nil {
		t.Error("a value was run by a shell")
	}
}

// A hook that hangs is killed with all that it has started, and one that ends leaves nothing; the
// next runs.
func TestQueueHangs(t *testing.T) {
	t.Chdir(t.TempDir())
	q, said := queueOf(t, 500*time.Millisecond, time.Minute)
	q.Add(Call{Flag: "on-connect", Command: "sleep 3601 & echo $! >hung; wait"})
	q.Add(Call{Flag: "on-connect", Command: "sleep 3602 & echo $! >left"})
	q.Add(Call{Flag: "on-connect", Command: "exit 3"})
	q.Add(Call{Flag: "on-connect", Command: "echo end >last"})
	log := said()
	for _, want := range []string{"it took too long", "exit status 3"} {
		if strings.Count(log, want) != 1 {
			t.Errorf("lacks %q:\n%s", want, log)
		}
	}
	if _, err := os.Stat("last"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"hung", "left"} {
		text, _ := os.ReadFile(name)
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: process %d lives", name, pid)
			}
		}
	}
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && syscall.Kill(pid, 0) == nil && !bytes.Contains(stat, []byte(") Z "))
}

// While a hook hangs Add does not wait; what has no room is skipped, and said. At the end what
// still waits is skipped, too.
func TestQueueFull(t *testing.T) {
	t.Chdir(t.TempDir())
	q, said := queueOf(t, time.Minute, 100*time.Millisecond)
	q.Add(Call{Flag: "on-connect", Command: "echo >began; sleep 3600"})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat("began"); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	for range maxCalls + 10 {
		q.Add(Call{Flag: "on-connect", Command: "echo >>ran"})
	}
	log := said()
	if strings.Count(log, "hooks are skipped") != 1 ||
		!strings.Contains(log, fmt.Sprintf("skipped=%d\n", maxCalls+10)) {
		t.Error(log)
	}
	if _, err := os.Stat("ran"); err == nil {
		t.Error("a hook ran beside another")
	}
}

// hung returns a Queue in which a call hangs, and its log.
func hung(t *testing.T) (*Queue, func() string) {
	t.Helper()
	began := filepath.Join(t.TempDir(), "began")
	q, said := queueOf(t, time.Minute, 100*time.Millisecond)
	q.Add(Call{Flag: "on-connect", Command: "echo >" + began + "; sleep 3600",
		About: audit.Entry{Token: "hangs"}})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(began); err == nil {
			return q, said
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// waiting returns how many calls wait.
func (q *Queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.calls)
}

// A client that comes and goes while a hook hangs leaves no calls that wait; those of one that has
// only gone, or only come, stay.
func TestQueueComesAndGoes(t *testing.T) {
	q, said := hung(t)
	begin := audit.Entry{Event: audit.SessionStarted, Token: "office"}
	for i := range uint64(5 * maxCalls) {
		begin.Session = i + 2
		q.Add(Call{Flag: "on-connect", Command: "true", About: begin})
		end := about(i + 2)
		q.Add(Call{Flag: "on-disconnect", Command: "true", About: end})
	}
	q.Add(Call{Flag: "on-disconnect", Command: "true", About: about(1)})
	begin.Session = 3
	q.Add(Call{Flag: "on-connect", Command: "true", About: begin})
	if n := q.waiting(); n != 2 {
		t.Errorf("%d wait", n)
	}
	if log := said(); strings.Contains(log, "hooks are skipped") {
		t.Error(log)
	}
}

// One token has half of the room, so that there is some for the others.
func TestQueueShares(t *testing.T) {
	q, said := hung(t)
	add := func(token string, n int) int {
		before := q.waiting()
		for i := range n {
			q.Add(Call{Flag: "on-connect", Command: "true", About: audit.Entry{Token: token,
				Event: audit.SessionStarted, Session: uint64(i + 1)}})
		}
		return q.waiting() - before
	}
	if n := add("a", 2*maxCalls); n != maxCalls/2 {
		t.Errorf("one token has %d", n)
	}
	if n := add("b", 100); n != 100 {
		t.Errorf("another has %d", n)
	}
	said()
}

// Clients do not make hooks run more often than the pace.
func TestQueuePace(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	q, said := queueOf(t, time.Minute, 0)
	if q.pace.Limit() != callRate || q.pace.Burst() != callBurst {
		t.Error("another pace")
	}
	const burst, calls = 3, 20
	q.pace.SetLimit(rate.Every(time.Hour))
	q.pace.SetBurst(burst)
	for range calls {
		q.Add(Call{Flag: "on-connect", Command: "echo x >>" + out})
	}
	// one more is taken out of the queue, and waits for its time
	for deadline := time.Now().Add(20 * time.Second); q.waiting() > calls-burst-1; time.Sleep(
		time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d wait", q.waiting())
		}
	}
	if text, _ := os.ReadFile(out); string(text) != strings.Repeat("x\n", burst) {
		t.Errorf("ran\n%s", text)
	}
	q.stop()
	said()
}
