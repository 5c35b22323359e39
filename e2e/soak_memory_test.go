package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// Clients of all kinds come and go at one server: its memory stays flat, and when they are gone it
// has as many files and goroutines as a new server.
func TestSoakMemory(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	server, clients := star(t, 4)
	bin := plainBuild(t)
	reference := bin.serve(t, clients[2], "--plain", "--network", "10.99.0.0/24", "--ping-interval",
		"2s")
	bin.connect(t, clients[3], "ws://198.51.100.4:8443", "--dev", "tun9")
	cmd := bin.command(server, "serve", "--plain", "--network", "10.1.0.0/19", "--ping-interval",
		"2s", "--token", token, "--max-sessions", "0", "--state", t.TempDir())
	// Garbage is collected early, so that only live memory grows.
	cmd.Env = append(cmd.Env, "GOGC=20")
	srv := watch(t, server.StartCommand(cmd))
	srv.WaitFor("listening on ", soon)
	cl := bin.connect(t, clients[0], directURL)
	x := startExchange(t, clients[0], server, "10.1.0.1")
	files := filesOf(t, srv)

	var sizes []int // KB, after each round
	rounds := 0
	for begin := time.Now(); time.Since(begin) < *soakTime || rounds < 6; rounds++ {
		crowd := startCrowd(t, clients[1], "198.51.100.1%02d", directURL, 50)
		for range 10 {
			all := frameAttacks(addressOf(0))
			s := dialSession(t, clients[2], "ip")
			all[r.IntN(len(all))].do(r, s)
			_ = s.conn.Close()
		}
		deaf := dialSession(t, clients[2], "ip")
		flood(t, server, deaf.address)
		_ = deaf.conn.Close()
		visitor := bin.connect(t, clients[3], directURL)
		reaches(t, clients[3], "10.1.0.1")
		visitor.Kill()
		crowd.Kill()
		sizes = append(sizes, resident(t, srv))
		x.flows(soon)
	}
	x.finish()
	if n := len(stdoutLines(cl, "down: ")); n > 0 {
		t.Errorf("the client that stays lost its connection:\n%s", cl.Stderr())
	}
	third := len(sizes) / 3
	middle, last := slices.Max(sizes[third:2*third]), slices.Max(sizes[2*third:])
	t.Logf("%d rounds; resident, in MB: %d at first, up to %d in the middle third, up to %d in "+
		"the last",
		rounds, sizes[0]>>10, middle>>10, last>>10)
	if last > middle+middle/4+16<<10 {
		t.Errorf("memory grows: resident KB after each round %v", sizes)
	}
	eventually(t, "the server has the files of before",
		func() bool { return filesOf(t, srv) <= files })

	want, have := goroutines(t, reference), goroutines(t, srv)
	t.Logf("%d goroutines, %d in a server that has seen one client only", have, want)
	if have != want {
		t.Errorf("%d goroutines, want %d:\n%s", have, want, srv.Stderr())
	}
	for _, h := range []*lab.Host{server, clients[2], clients[3]} { // ended by SIGQUIT or SIGKILL
		if out, stderr, code := h.TryCommand(bin.command(h, "cleanup")); code != 0 {
			t.Errorf("cleanup: exit code %d\n%s%s", code, out, stderr)
		}
	}
}

// resident returns the resident memory of a program in KB.
func resident(t *testing.T, proc *lab.Proc) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", proc.Worker()))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindStringSubmatch(string(text))
	if m == nil {
		t.Fatalf("no VmRSS in\n%s", text)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// filesOf returns the number of a program's open files.
func filesOf(t *testing.T, proc *lab.Proc) int {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", proc.Worker()))
	if err != nil || len(files) == 0 {
		t.Fatalf("files of %d: %v", proc.Worker(), err)
	}
	return len(files)
}

// goroutines ends a program by SIGQUIT, which makes Go print all goroutines, and returns the number
// of the program's own.
func goroutines(t *testing.T, proc *lab.Proc) int {
	t.Helper()
	proc.Signal(syscall.SIGQUIT)
	proc.Wait(soon)
	n := 0
	for stack := range strings.SplitSeq(proc.Stderr(), "\n\n") {
		// The collector's goroutines vary.
		if strings.HasPrefix(stack, "goroutine ") && !strings.Contains(stack,
			"\ncreated by runtime.") {
			n++
		}
	}
	return n
}
