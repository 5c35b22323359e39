package e2e

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/auth"
	"tunnel/control"
	"tunnel/e2e/lab"
)

// A sink is an output stream of a program that is not read until read is called.
type sink struct {
	in  *os.File // the program's stdout or stderr
	out *os.File // the reader's end; nil if there is none

	hold sync.Mutex // locked while the reader pauses

	mu   sync.Mutex
	text strings.Builder // what was read; guarded by mu
	done chan struct{}   // closed at the end; nil before read
}

// fullPipe returns a full pipe, as of a log driver that hangs.
func fullPipe(t *testing.T) *sink {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	for full := make([]byte, 4096); ; {
		if _, err := unix.Write(fds[1], full); errors.Is(err, unix.EAGAIN) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.SetNonblock(fds[1], false); err != nil { // as a program expects it
		t.Fatal(err)
	}
	return newSink(t, fds[1], fds[0])
}

// stoppedTerminal returns a terminal whose output is stopped, as by Ctrl-S.
func stoppedTerminal(t *testing.T) *sink {
	t.Helper()
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK,
		0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER,
		unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		t.Fatal(errno)
	}
	s := newSink(t, int(slave), master)
	if err := unix.IoctlSetInt(int(slave), unix.TCXONC, unix.TCOOFF); err != nil {
		t.Fatal(err)
	}
	return s
}

func newSink(t *testing.T, in, out int) *sink {
	s := &sink{in: os.NewFile(uintptr(in), "sink")}
	if out >= 0 {
		s.out = os.NewFile(uintptr(out), "reader")
	}
	t.Cleanup(func() { _ = errors.Join(s.in.Close(), s.out.Close()) }) // Close is safe on nil
	return s
}

// read begins to read, as a terminal does after Ctrl-Q.
func (s *sink) read(t *testing.T) {
	t.Helper()
	if err := unix.IoctlSetInt(int(s.in.Fd()), unix.TCXONC, unix.TCOON); err != nil &&
		!errors.Is(err, unix.ENOTTY) {
		t.Fatal(err)
	}
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		buffer := make([]byte, 64<<10)
		for {
			n, err := s.out.Read(buffer)
			s.hold.Lock() // a test can pause the reader
			s.mu.Lock()
			s.text.Write(buffer[:n])
			s.mu.Unlock()
			s.hold.Unlock()
			if err != nil { // EOF of a pipe, EIO of a terminal: all writers have closed
				return
			}
		}
	}()
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.ReplaceAll(strings.Trim(s.text.String(), "\x00"), "\r\n", "\n")
}

// waitFor waits until text was read.
func (s *sink) waitFor(t *testing.T, text string) {
	t.Helper()
	eventually(t, "a reader gets "+text, func() bool { return strings.Contains(s.String(), text) })
}

// openSink opens a device file for writing, such as /dev/full.
func openSink(t *testing.T, name string) *sink {
	t.Helper()
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return newSink(t, fd, -1)
}

// brokenPipe returns a pipe whose reader has closed it.
func brokenPipe(t *testing.T) *sink {
	t.Helper()
	s := fullPipe(t)
	_ = s.out.Close()
	return s
}

// closed returns a sink that stands for a closed stream.
func closed(*testing.T) *sink { return new(sink) }

// unreadRun is a run of the program whose output is not read.
type unreadRun struct {
	*lab.Proc
	stdout, stderr *sink // a nil sink is read by Proc
}

// startUnread starts the program with sinks. A nil sink stands for a stream that is read.
func (p program) startUnread(t *testing.T, h *lab.Host, stdout, stderr *sink,
	args ...string) *unreadRun {
	t.Helper()
	// Proc has its own stdout and stderr: a shell redirects them to the sinks and executes the
	// program.
	redirect := `exec "$@"`
	cmd := clean(h.Command("sh", "-c", redirect))
	for fd, s := range map[string]*sink{"1": stdout, "2": stderr} {
		switch {
		case s == nil:
		case s.in == nil:
			redirect += " " + fd + ">&-"
		default:
			cmd.ExtraFiles = append(cmd.ExtraFiles, s.in)
			redirect += " " + fd + ">&" + strconv.Itoa(2+len(cmd.ExtraFiles))
		}
	}
	for i := range cmd.ExtraFiles {
		redirect += " " + strconv.Itoa(3+i) + ">&-"
	}
	cmd.Args[len(cmd.Args)-1] = redirect
	cmd.Args = append(cmd.Args, "sh", string(p))
	cmd.Args = append(cmd.Args, args...)
	return &unreadRun{watch(t, h.StartCommand(cmd)), stdout, stderr}
}

// sinks returns the kinds of output that cannot be written or are not read.
func sinks() map[string]func(t *testing.T) (stdout, stderr *sink) {
	return map[string]func(t *testing.T) (stdout, stderr *sink){
		"full stderr": func(t *testing.T) (*sink, *sink) { return nil, fullPipe(t) },
		"full stdout": func(t *testing.T) (*sink, *sink) { return fullPipe(t), nil },
		"one full pipe": func(t *testing.T) (*sink, *sink) {
			s := fullPipe(t)
			return s, s
		},
		"stopped terminal": func(t *testing.T) (*sink, *sink) {
			s := stoppedTerminal(t)
			return s, s
		},
		"closed stdout, full disk": func(t *testing.T) (*sink,
			*sink) {
			return closed(t), openSink(t, "/dev/full")
		},
		"reader gone": func(t *testing.T) (*sink, *sink) {
			s := brokenPipe(t)
			return s, s
		},
	}
}

// modes returns the flags of a run with a worker and of a run in one process.
func modes() map[string][]string {
	return map[string][]string{"worker": nil, "one process": {"--no-sandbox"}}
}

// awaitListen waits until a server listens, without its output.
func awaitListen(t *testing.T, server *lab.Host) {
	t.Helper()
	eventually(t, "the server listens",
		func() bool { return server.Run("ss", "-Hltn", "sport", "=", ":8443") != "" })
}

// Both sides start, carry packets, admit more clients and stop while their output is not read. Not
// parallel: it measures how long they take to end.
func TestOutputWithoutReader(t *testing.T) {
	bin := plainBuild(t)
	type kind struct{ mode, sink string }
	var kinds []kind
	for _, mode := range slices.Sorted(maps.Keys(modes())) {
		for _, name := range slices.Sorted(maps.Keys(sinks())) {
			if mode == "one process" && strings.HasPrefix(name, "full ") {
				continue // covered by one full pipe for both
			}
			kinds = append(kinds, kind{mode, name})
		}
	}
	for _, c := range sample(t, 5, kinds) {
		t.Run(c.mode+", "+c.sink, func(t *testing.T) {
			server, client, router := routed(t)
			serverBefore, clientBefore := tables(t, server), tables(t, client)
			start := func(h *lab.Host, args ...string) *unreadRun {
				stdout, stderr := sinks()[c.sink](t)
				args = append(args, "--token", token, "--state", t.TempDir(), "--log-level",
					"debug")
				return bin.startUnread(t, h, stdout, stderr, append(args, modes()[c.mode]...)...)
			}
			srv := start(server, "serve", "--plain")
			awaitListen(t, server)
			cl := start(client, "connect", routedURL, "--on-up", "seq 50000", "--on-down",
				"seq 50000 >&2")
			eventually(t, "packets cross", func() bool {
				_, _, code := client.Try("ping", "-n", "-c1", "-W1", "10.1.1.1")
				return code == 0
			})
			for range 3 { // each causes log lines on both sides
				client.Try("curl", "-s", "-m1", "-H",
					"Authorization: Bearer wrong-token-of-an-attacker",
					"http://203.0.113.1:8443/ws")
				client.Run("ip", "link", "set", "lo", "mtu", "60000")
				client.Run("ip", "link", "set", "lo", "mtu", "65536")
			}
			stop(t, bin.connect(t, router, routedURL))
			reaches(t, client, "10.1.1.1")
			stopInTime(t, cl.Proc)
			untouched(t, client, clientBefore)
			stopInTime(t, srv.Proc)
			untouched(t, server, serverBefore)
		})
	}
}

// When output is read again, all lines that were kept come in order, followed by the last ones.
func TestOutputReaderResumes(t *testing.T) {
	t.Parallel()
	bin := plainBuild(t)
	for name, make := range map[string]func(*testing.T) *sink{"pipe": fullPipe,
		"terminal": stoppedTerminal} {
		for mode, flags := range modes() {
			t.Run(mode+", "+name, func(t *testing.T) {
				server, client := direct(t)
				s := make(t)
				args := []string{"serve", "--plain", "--token", token, "--state", t.TempDir()}
				srv := bin.startUnread(t, server, s, s, append(args, flags...)...)
				awaitListen(t, server)
				cl := bin.connect(t, client, directURL)
				s.read(t)
				for _, line := range []string{"device made", "ip link set dev tun0 up",
					"ip addr add", "ip route add", "listening on ", "msg=connected"} {
					s.waitFor(t, line)
				}
				text := s.String()
				if link, addr, route := strings.Index(text, "ip link set"), strings.Index(text,
					"ip addr add"), strings.Index(text, "ip route add"); link > addr ||
					addr > route {
					t.Errorf("out of order\n%s", text)
				}
				stop(t, cl)
				stop(t, srv.Proc)
				_ = s.in.Close()
				<-s.done
				text = strings.TrimSpace(s.String())
				if !strings.Contains(text[strings.LastIndex(text, "\n")+1:], "msg=stopped") {
					t.Errorf("the last line is not the program's\n%s", text)
				}
			})
		}
	}
}

// More lines are logged than are kept while output is not read. When it is read again, a line says
// at their place how many were dropped, and the rest is there.
func TestDroppedLines(t *testing.T) {
	t.Parallel()
	bin := plainBuild(t)
	for mode, flags := range modes() {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			server, state := lab.New(t).Host("server"), t.TempDir()
			s := fullPipe(t)
			args := []string{"serve", "--plain", "--token", token, "--state", state, "--log-format",
				"json"}
			srv := bin.startUnread(t, server, nil, s, append(args, flags...)...)
			eventually(t, "the server answers", func() bool {
				_, err := control.NewClient(state).List(t.Context())
				return err == nil
			})
			// No rate limit of the log applies to these lines.
			spec, pairs := auth.Spec{Name: strings.Repeat("n", auth.MaxName)}, 1200
			for range pairs {
				_, _, err := control.NewClient(state).Create(t.Context(), spec)
				if err == nil {
					err = control.NewClient(state).Revoke(t.Context(), spec.Name)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			s.read(t)
			s.waitFor(t, "log lines dropped")
			stop(t, srv.Proc)
			_ = s.in.Close()
			<-s.done
			text, dropped := s.String(), 0
			for line := range strings.Lines(text) {
				var notice struct {
					Msg, Reason string
					Lines       int
				}
				if err := json.Unmarshal([]byte(line), &notice); err != nil {
					t.Errorf("%v: %s", err, line)
				}
				if notice.Msg == "log lines dropped" {
					dropped += notice.Lines
					if notice.Reason != "not read in time" {
						t.Error(line)
					}
				}
			}
			kept := strings.Count(text, spec.Name)
			if kept+dropped < 2*pairs || kept == 2*pairs || kept < 1000 || dropped > pairs {
				t.Errorf("%d lines were kept, and %d dropped", kept, dropped)
			}
			if !strings.Contains(text, `"msg":"stopped"`) {
				t.Errorf("the last lines are missing\n%.2000s", text)
			}
		})
	}
}

// A worker crashes while its reader pauses, with a dump that is larger than what is kept: the Go
// runtime's dump comes whole, and after it the parent's line.
func TestCrashOutputIsComplete(t *testing.T) {
	t.Parallel()
	bin := plainBuild(t)
	server, client := direct(t)
	s := fullPipe(t)
	srv := bin.startUnread(t, server, nil, s, "serve", "--plain", "--token", token, "--state",
		t.TempDir(), "--max-per-address", "4096", "--max-connections", "8192")
	srv.WaitFor("listening on ", soon)
	s.read(t)
	const attempts = 600
	for range attempts {
		conn, err := client.DialContext(t.Context(), "tcp", "198.51.100.1:8443")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
	}
	s.hold.Lock()
	kill(t, srv.Worker(), unix.SIGQUIT)
	time.Sleep(500 * time.Millisecond) // a reader may pause for three seconds
	s.hold.Unlock()
	if code := srv.Wait(soon); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	_ = s.in.Close()
	<-s.done
	text := s.String()
	begin, end := strings.Index(text, "SIGQUIT: quit\n"), strings.Index(text,
		"tunnel: internal: the worker crashed")
	if begin < 0 || end < begin || strings.Contains(text, "dropped") {
		t.Fatalf("begins at %d, ends at %d of %d bytes\n%.2000s", begin, end, len(text),
			text[max(0, begin):])
	}
	if end-begin < 400<<10 { // no proof otherwise: the queue and two pipes hold that much
		t.Errorf("%d bytes", end-begin)
	}
}
