package privsep_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/admin/audit"
	"tunnel/host"
	"tunnel/ipcmd/iptest"
	"tunnel/journal"
	"tunnel/packet"
	"tunnel/privsep"
	"tunnel/supervisor"
)

// The worker of these tests writes to the socket pair whatever the test says, as one that was
// broken into could.
const (
	behaviorVariable = "TUNNEL_TEST_WORKER" // what the worker does
	sendVariable     = "TUNNEL_TEST_SEND"   // lines to send, one message each
	outVariable      = "TUNNEL_TEST_OUT"    // the file for what comes back
	// how many messages to wait for; all that were sent without it
	readVariable = "TUNNEL_TEST_READ"
	workerCode   = 7 // of a worker that came to its end
)

func TestMain(m *testing.M) {
	if privsep.IsWorker(os.Args) {
		os.Exit(beWorker(os.Getenv(behaviorVariable)))
	}
	os.Exit(m.Run())
}

func beWorker(behavior string) int {
	switch behavior {
	case "killed":
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	case "aborts":
		_ = unix.Kill(os.Getpid(), unix.SIGABRT)
		time.Sleep(time.Minute)
	case "crashes":
		go func() { panic("a defect") }()
		time.Sleep(time.Minute)
	case "stopped":
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
		time.Sleep(time.Minute) // another thread may be the one that stops the process
	case "waits":
		buffer := make([]byte, 16<<10)
		n, err := unix.Read(3, buffer)
		if string(buffer[:max(n, 0)]) == `{"stop":true}` {
			return privsep.ExitCode(workerCode)
		}
		fmt.Println("read", n, err)
	case "sends":
		return sends()
	case "alive", "stuck":
		return beWatched(behavior == "stuck")
	}
	return 1
}

func sends() int {
	lines := strings.Split(os.Getenv(sendVariable), "\n")
	out, err := os.Create(os.Getenv(outVariable))
	if err != nil {
		return 1
	}
	replies, flood := strconv.Atoi(os.Getenv(readVariable))
	if flood != nil {
		replies = 1 // to each, before the next
	}
	for i, line := range lines {
		switch name, isFile := strings.CutPrefix(line, "FILE "); {
		case isFile:
			text, err := os.ReadFile(name)
			if err != nil {
				return 1
			}
			line = string(text)
		case line == "LONG":
			line = `{"id":1,"kind":"open","name":"` + strings.Repeat("x", 200<<10) + `"}`
		case line == "CLOSE":
			_ = unix.Shutdown(3, unix.SHUT_WR)
			time.Sleep(time.Minute)
		}
		if err := unix.Sendmsg(3, []byte(line), nil, nil, 0); err != nil {
			return 1
		}
		if flood == nil && i < len(lines)-1 {
			continue
		}
		for range replies {
			buffer := make([]byte, 16<<10)
			n, err := unix.Read(3, buffer)
			if err != nil || n == 0 {
				return 1
			}
			_, _ = fmt.Fprintf(out, "%s\n", buffer[:n])
		}
	}
	return privsep.ExitCode(workerCode)
}

// fakeHost is a machine whose commands succeed.
type fakeHost struct {
	recorder *iptest.Recorder
	host     *host.Host
	hold     chan struct{} // Open waits for its end

	mu      sync.Mutex
	hooks   []string           // guarded by mu
	entries []audit.Entry      // guarded by mu
	told    []supervisor.State // guarded by mu
}

func newHost(t *testing.T) *fakeHost {
	t.Helper()
	j, err := journal.Open(t.TempDir(), "tun0", host.Kinds())
	if err != nil {
		t.Fatal(err)
	}
	h := &fakeHost{recorder: iptest.NewRecorder(nil), hold: make(chan struct{})}
	h.host = host.New(journal.Machine{Run: h.recorder}, j, nil)
	t.Cleanup(func() { close(h.hold); _ = h.host.Close() })
	return h
}

func (h *fakeHost) MakeDevice(context.Context) (*os.File, string, packet.Offload, error) {
	file, err := os.Open(os.DevNull)
	return file, "tun0", packet.Offload{}, err
}

func (h *fakeHost) OpenState() (*os.File, string, error) {
	return nil, "", &os.PathError{Op: "open", Path: "/state", Err: os.ErrPermission}
}

func (h *fakeHost) OpenListener(context.Context, string) (*os.File, error) {
	return nil, errors.New("no")
}

func (h *fakeHost) OpenConfig() (*os.File, error) { return nil, errors.New("a bad file") }
func (h *fakeHost) Adopt(context.Context) error   { return nil }

func (h *fakeHost) Open(flag string, _ bool) (*os.File, error) {
	<-h.hold
	return nil, errors.New("no file " + flag)
}

func (h *fakeHost) Record(_ context.Context, entries []audit.Entry) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries = append(h.entries, entries...)
	return nil
}

func (h *fakeHost) RunHook(_ context.Context, flag string, set host.Want, _ *audit.Entry) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hooks = append(h.hooks, flag+" "+set.Addresses[0].Local.String())
	return nil
}

func (h *fakeHost) Tell(s supervisor.State) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, s)
}

func (h *fakeHost) Allow(host.Want) error { return nil }
func (h *fakeHost) Host() *host.Host      { return h.host }
func (h *fakeHost) Explain(err error) *privsep.Failure {
	return &privsep.Failure{Step: "x", Text: err.Error()}
}

// run runs a worker that does that, and returns its code, the parent's error and what the worker
// got back.
func run(t *testing.T, h *fakeHost, behavior string, lines ...string) (code int, answers string,
	err error) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	t.Setenv(behaviorVariable, behavior)
	t.Setenv(sendVariable, strings.Join(lines, "\n"))
	t.Setenv(outVariable, out)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code, err = privsep.New(h, slog.New(slog.DiscardHandler)).Run(ctx, nil)
	text, _ := os.ReadFile(out) // there need not be one
	return code, string(text), err
}

const (
	device = `{"id":1,"kind":"device"}`
	good   = `{"id":2,"kind":"apply","want":{"dev":"tun0","mtu":1400,"qlen":100,` +
		`"addresses":[{"local":"10.1.1.3","peer":"10.1.1.4"}],` +
		`"routes":[{"prefix":"10.1.1.0/24","via":"10.1.1.4"}]}}`
)

// TestRequests is what the parent does for a worker.
func TestRequests(t *testing.T) {
	h := newHost(t)
	code, answers, err := run(t, h, "sends", device)
	if code != workerCode || err != nil || answers != `{"id":1,"device":"tun0"}`+"\n" {
		t.Fatalf("%d, %v, %s", code, err, answers)
	}
}

// TestRefusedFacts asks for what is no tunnel's: the parent does not do it, and goes on.
func TestRefusedFacts(t *testing.T) {
	config := func(change string, to string) string {
		fields := map[string]string{
			"Dev": `"tun0"`, "MTU": "1400", "Qlen": "100", "Local": `"10.1.1.3"`,
			"Peer": `"10.1.1.4"`, "Network": `"10.1.1.0/24"`,
		}
		fields[change] = to
		return fmt.Sprintf(`{"id":2,"kind":"apply","want":{"dev":%s,"mtu":%s,"qlen":%s,`+
			`"addresses":[{"local":%s,"peer":%s}],`+
			`"routes":[{"prefix":%s,"via":%[5]s}]}}`,
			fields["Dev"], fields["MTU"], fields["Qlen"], fields["Local"], fields["Peer"],
			fields["Network"])
	}
	// more adds a field to a good request, and has another of its texts changed.
	more := func(field, from, to string) string {
		request := strings.TrimSuffix(good, "}}") + "," + field + "}}"
		return strings.ReplaceAll(request, from, to)
	}
	for name, test := range map[string]struct{ request, why string }{
		"default route":         {config("Network", `"0.0.0.0/0"`), "not an IPv4 network of /8"},
		"half of all":           {config("Network", `"0.0.0.0/1"`), "not an IPv4 network of /8"},
		"loopback":              {config("Network", `"127.0.0.0/8"`), "not a network of"},
		"network not its own":   {config("Network", `"10.2.2.0/24"`), "not a network of 10.1.1.4"},
		"other device":          {config("Dev", `"eth0"`), "the journal is that of tun0"},
		"address of a loopback": {config("Local", `"127.0.0.1"`), "not an IPv4 network"},
		"mtu":                   {config("MTU", "7"), "mtu 7"},
		"hook without address": {`{"id":2,"kind":"hook","name":"on-up"}`,
			"a hook without addresses"},
		"second device": {`{"id":2,"kind":"device"}`, "made once"},
		"state":         {`{"id":2,"kind":"state"}`, "permission denied"},
		"firewall of a pattern": {more(`"firewall":{"clamp":true}`, `"dev":"tun0"`, `"dev":"tun*"`),
			"has more than letters"},
		"network of all": {more(`"firewall":{"networks":["0.0.0.0/0"]}`, "", ""),
			"not an IPv4 network of /8"},
		"kill switch without a mark": {more(`"firewall":{"kill_switch":{"mark":0}}`, "", ""),
			"needs the mark"},
		"parameter of all": {more(`"sysctls":[{"name":"ipv4/forwarding","dev":"all"}]`, "", ""),
			"several interfaces"},
		"another parameter": {more(`"sysctls":[{"name":"ipv4/rp_filter","dev":"tun0"}]`, "", ""),
			"not a parameter"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			code, answers, err := run(t, h, "sends", device, test.request)
			if code != workerCode || err != nil || !strings.Contains(answers, test.why) {
				t.Errorf("%d, %v, %s; want %s", code, err, answers, test.why)
			}
			for line := range strings.Lines(h.recorder.Transcript()) {
				if strings.Contains(line, "route add") || strings.Contains(line, "eth0") ||
					strings.Contains(line, "127.") || strings.Contains(line, "nft") ||
					strings.Contains(line, "sysctl") {
					t.Errorf("ran %s", line)
				}
			}
		})
	}
	t.Run("before there is a device", func(t *testing.T) {
		h := newHost(t)
		if code, answers, err := run(t, h, "sends", good); code != workerCode || err != nil ||
			!strings.Contains(answers, "no device yet") {
			t.Errorf("%d, %v, %s", code, err, answers)
		}
	})
}

// TestBadRequests sends what no worker of ours sends: it is killed.
func TestBadRequests(t *testing.T) {
	for name, request := range map[string]string{
		"no JSON":               "rm -rf /",
		"half":                  `{"id":1,"kind":`,
		"two":                   device + device,
		"unknown kind":          `{"id":1,"kind":"run"}`,
		"unknown field":         `{"id":1,"kind":"device","command":"ip route flush"}`,
		"field of another kind": `{"id":1,"kind":"device","name":"eth0"}`,
		"no number":             `{"kind":"device"}`,
		"bypass of a network":   `{"id":1,"kind":"bypass","address":"0.0.0.0/0"}`,
		"bypass of nothing":     `{"id":1,"kind":"bypass"}`,
		"firewall as text": `{"id":1,"kind":"apply","want":{"dev":"tun0","mtu":1400,"qlen":100,` +
			`"addresses":[],"routes":[],"firewall":"flush ruleset"}}`,
		"rules as text": `{"id":1,"kind":"apply","want":{"dev":"tun0","mtu":1400,"qlen":100,` +
			`"addresses":[],"routes":[],"firewall":{"rules":["accept"]}}}`,
		"bypass of a name":      `{"id":1,"kind":"bypass","address":"-6 route add default"}`,
		"set of nothing":        `{"id":1,"kind":"apply"}`,
		"record of nothing":     `{"id":1,"kind":"record"}`,
		"entries of a device":   `{"id":1,"kind":"device","entries":[` + entry + `]}`,
		"entry of another form": `{"id":1,"kind":"record","entries":[` + entry + ` ]}`,
		"field of no entry": `{"id":1,"kind":"record","entries":[{"time":"2026-01-01T00:00:00Z",` +
			`"event":"kicked","file":"/etc/passwd"}]}`,
		"hook of two sessions": `{"id":1,"kind":"hook","name":"on-up","entries":[` + entry + "," +
			entry + `]}`,
		"longer than a message": "LONG",
		"empty message":         "",
		"no request any more":   "CLOSE",
		"kind twice":            `{"id":1,"kind":"apply","kind":"device"}`,
		"address twice": `{"id":1,"kind":"next-hop","address":"8.8.8.8",` +
			`"address":"1.1.1.1"}`,
		"address in two cases": `{"id":1,"kind":"next-hop","address":"8.8.8.8",` +
			`"ADDRESS":"1.1.1.1"}`,
		"another case":            `{"id":1,"KIND":"device"}`,
		"another order":           `{"kind":"device","id":1}`,
		"white space":             `{"id":1,"kind":"device"} `,
		"empty field":             `{"id":1,"kind":"device","name":""}`,
		"escaped letter":          `{"id":1,"kind":"\u0064evice"}`,
		"address in another form": `{"id":1,"kind":"next-hop","address":"2001:DB8::1"}`,
		"host bits":               strings.Replace(good, "10.1.1.0/24", "10.1.1.5/24", 1),
		"host bits of an overlap": `{"id":1,"kind":"overlap",` +
			`"networks":["10.1.1.5/24"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			code, answers, err := run(t, h, "sends", request)
			if code != 1 || err == nil || !strings.Contains(err.Error(),
				"killed for what it asked") || !errors.Is(err, privsep.ErrProtocol) ||
				answers != "" {
				t.Errorf("%d, %v, %s", code, err, answers)
			}
			if err != nil && strings.Contains(err.Error(), "rm -rf") {
				t.Errorf("the worker's words are in %v", err)
			}
			if ran := h.recorder.Transcript(); ran != "" {
				t.Errorf("ran %s", ran)
			}
		})
	}
}

// TestFlood has more requests at once than there may be: the rest is refused.
func TestFlood(t *testing.T) {
	const most, more = 16, 24
	var lines []string
	for i := range most + more {
		lines = append(lines, fmt.Sprintf(`{"id":%d,"kind":"open","name":"held"}`, i+1))
	}
	t.Setenv(readVariable, strconv.Itoa(more)) // the others are held until the worker has ended
	code, answers, err := run(t, newHost(t), "sends", lines...)
	if n := strings.Count(answers, "too many requests at once"); code != workerCode || err != nil ||
		n != more {
		t.Errorf("%d, %v, %d refused:\n%s", code, err, n, answers)
	}
}

// TestWorkerEnds is what a parent makes of its worker's end.
func TestWorkerEnds(t *testing.T) {
	h := newHost(t)
	for behavior, says := range map[string]string{
		"killed":  "the worker was ended by a signal: killed: if nobody did it memory ran out",
		"aborts":  "see its output above",
		"crashes": "the worker crashed (exit code 2): see its output above, and report it",
		"unknown": "the worker crashed (exit code 1)", // which no worker of ours ends with
	} {
		if code, _, err := run(t, h, behavior); code != 1 || err == nil ||
			!strings.Contains(err.Error(), says) {
			t.Errorf("%s: %d, %v", behavior, code, err)
		}
	}
	t.Setenv(behaviorVariable, "waits")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	if code, err := privsep.New(h, slog.New(slog.DiscardHandler)).Run(ctx,
		nil); code != workerCode || err != nil {
		t.Errorf("told to stop: %d, %v", code, err)
	}
	t.Setenv(behaviorVariable, "stopped")
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	if code, err := privsep.New(h, slog.New(slog.DiscardHandler)).Run(ctx, nil); code != 1 ||
		err == nil || !strings.Contains(err.Error(), "did not stop") {
		t.Errorf("SIGSTOP: %d, %v", code, err)
	}
}
