package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tunnel/admin/status"
	"tunnel/e2e/lab"
)

// topOf returns what `tunnel top --json` measures on a host.
func (p program) topOf(t *testing.T, h *lab.Host, flags ...string) (r status.FlowsReport) {
	t.Helper()
	out := h.Run(append([]string{string(p), "top", "--json"}, flags...)...)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return r
}

// flowOf returns the flow that goes one way between two addresses, which has most bytes.
func flowOf(all status.Flows, way, protocol, from, to string) status.Flow {
	for _, f := range all.Flows { // those with most bytes first
		if f.Way == way && f.Protocol == protocol && f.Source.String() == from &&
			f.Destination.String() == to {
			return f
		}
	}
	return status.Flow{}
}

// megabits returns the rate of a flow.
func megabits(all status.Flows, c status.Crossed) float64 {
	return 8 * float64(c.Bytes) / all.Seconds / 1e6
}

// TestTopRates has a hub and a client show the rates of flows that are known, with the names of the
// clients, each flow once, and only to root.
func TestTopRates(t *testing.T) {
	t.Parallel()
	server, clients := star(t, 2)
	bin := plainBuild(t)
	state := t.TempDir()
	bin.start(t, server, "serve", "--plain", "--token", token, "--client-to-client", "--state",
		state).WaitFor("listening on ", soon)
	for i, name := range []string{"laptop", "phone"} {
		text := strings.TrimSpace(server.Run(string(bin), "token", "create", name, "--state", state))
		bin.start(t, clients[i], "connect", directURL, "--token", text, "--state",
			t.TempDir()).WaitFor("up: ", soon)
	}
	const up, down, across = 20, 12, 6 // Mbit/s
	limit(clients[0], "tun0", up)
	startStream(t, clients[0], server, "10.1.1.1")
	startStream(t, clients[1], clients[0], "10.1.1.3", "-u", "-b", fmt.Sprintf("%dM", across),
		"-l", "1200")
	limit(server, "tun0", down)
	startStream(t, server, clients[1], "10.1.1.5")

	hub := bin.topOf(t, server, "--state", state, "--interval", "5s").Hub
	one := bin.topOf(t, clients[0], "--dev", "tun0", "--interval", "5s").Clients[0]
	two := bin.topOf(t, clients[1], "--dev", "tun0", "--interval", "5s").Clients[0]
	const withHeaders = across * 1228. / 1200
	for _, c := range []struct {
		what               string
		all                status.Flows
		way, protocol      string
		from, to           string
		fromName, toName   string
		want               float64
		waits, notMeasured bool
	}{
		{"the hub, from a client", *hub, "in", "tcp", "10.1.1.3", "10.1.1.1", "laptop", "", up, false,
			false},
		{"the hub, to a client", *hub, "out", "tcp", "10.1.1.1", "10.1.1.5", "", "phone", down, true,
			false},
		{"the hub, between clients", *hub, "out", "udp", "10.1.1.5", "10.1.1.3", "phone", "laptop",
			withHeaders, true, false},
		{"a client, to the hub", one, "out", "tcp", "10.1.1.3", "10.1.1.1", "", "", up, true, false},
		{"a client, from another", one, "in", "udp", "10.1.1.5", "10.1.1.3", "", "", withHeaders, false,
			false},
		{"the other client, to this", two, "out", "udp", "10.1.1.5", "10.1.1.3", "", "", withHeaders,
			true, false},
		{"the other client, from the hub", two, "in", "tcp", "10.1.1.1", "10.1.1.5", "", "", down, false,
			false},
		{"the hub, between clients, is counted once", *hub, "in", "udp", "10.1.1.5", "10.1.1.3", "", "",
			0, false, true},
	} {
		f := flowOf(c.all, c.way, c.protocol, c.from, c.to)
		if c.notMeasured {
			if f.Bytes != 0 {
				t.Errorf("%s: %+v", c.what, f)
			}
			continue
		}
		got := megabits(c.all, f.Crossed)
		t.Logf("%s: %.2f Mbit/s of %.2f, waits %.3f ms", c.what, got, c.want, f.Delay)
		if got < c.want*0.9 || got > c.want*1.1 {
			t.Errorf("%s: %.2f Mbit/s are shown of %.2f", c.what, got, c.want)
		}
		if f.SourceName != c.fromName || f.DestinationName != c.toName ||
			c.waits != (f.MaxDelay > 0) || f.DestinationPort != 5201 || f.SourcePort == 0 {
			t.Errorf("%s: %+v", c.what, f)
		}
	}
	sum := hub.Others
	for _, f := range hub.Flows {
		sum.Add(f.Crossed)
	}
	if sum != hub.Total {
		t.Errorf("the flows are %+v together, the total is %+v", sum, hub.Total)
	}

	text := server.Run(string(bin), "top", "--state", state)
	for _, want := range []string{"server tun0: ", "laptop 10.1.1.3:", "phone 10.1.1.5:5201",
		"10.1.1.1:5201", "DELAY", " Mbit/s"} {
		if !strings.Contains(text, want) {
			t.Errorf("top lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Errorf("what is no terminal gets colors:\n%q", text)
	}
	t.Log("\n" + text)
	for h, flag := range map[*lab.Host]string{server: "--state=" + state, clients[0]: "--dev=tun0"} {
		if out, stderr, code := h.Try("setpriv", "--reuid", "65534", "--clear-groups", string(bin),
			"top", flag); code != 18 || !strings.Contains(stderr, "root's are asked with sudo") {
			t.Errorf("another user: exit code %d\n%s%s", code, out, stderr)
		}
	}
}

// TestTopMarks narrows the line of a client: a flow with ECN is marked in place of drops by CoDel,
// one without is dropped, both are seen to wait, and all that is seen to be dropped is.
func TestTopMarks(t *testing.T) {
	t.Parallel()
	const line = 10 // Mbit/s
	server, client := direct(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	bin.connect(t, client, directURL)
	limit(client, "eth0", line)
	marked := (&datagrams{name: "with ECN", least: 1200, most: 1200, burst: 2,
		tick: 3300 * time.Microsecond, capable: true}).start(t, client, server, "10.1.1.1") // 5.8 Mbit/s
	flood := (&datagrams{name: "without", least: 1200, most: 1200, burst: 8,
		tick: 4 * time.Millisecond}).start(t, client, server, "10.1.1.1") // 19 Mbit/s
	eventually(t, "the flood is dropped", func() bool {
		return bin.statusOf(t, client, "--dev", "tun0").Clients[0].Drops["codel"] > 100 &&
			marked.marked.Load() > 10
	})
	before := bin.statusOf(t, client, "--dev", "tun0").Clients[0]
	all := bin.topOf(t, client, "--dev", "tun0", "--interval", "5s").Clients[0]
	after := bin.statusOf(t, client, "--dev", "tun0").Clients[0]
	marked.end()
	flood.end()
	of := map[uint16]status.Flow{}
	for _, f := range all.Flows {
		of[f.DestinationPort] = f
	}
	port := func(d *datagrams) uint16 {
		return netip.MustParseAddrPort(d.to.LocalAddr().String()).Port()
	}
	rate := megabits(all, all.Total)
	t.Logf("the line carries %.1f Mbit/s: %+v, %+v", rate, of[port(marked)], of[port(flood)])
	full := after.Drops["queue_full"] - before.Drops["queue_full"]
	if f := of[port(marked)]; f.Marked == 0 || f.Dropped > full || f.Delay < 1 ||
		f.MaxDelay < f.Delay {
		t.Errorf("the flow with ECN is shown as %+v", f)
	}
	if f := of[port(flood)]; f.Marked != 0 || f.Dropped <= full || f.Delay < 1 {
		t.Errorf("the flood is shown as %+v", f)
	}
	if rate < line*0.85 || rate > line*1.05 { // the rest is headers of the tunnel
		t.Errorf("%.1f Mbit/s are shown of %d", rate, line)
	}
	// One that the kernel has joined, at most a burst, is one for status, and its segments for top.
	dropped := full + after.Drops["codel"] - before.Drops["codel"]
	if all.Total.Dropped == 0 || all.Total.Dropped > 8*dropped || all.Total.Dropped < dropped/2 {
		t.Errorf("%d drops are shown; status counts %d, for a little longer", all.Total.Dropped,
			dropped)
	}
}

// TestTopFlood sends packets of a million random flows while a hub and a client measure as often as
// they may at once: neither takes more memory than under such a flood alone, also not for a moment,
// and the one flow among them that carries much is still found.
func TestTopFlood(t *testing.T) {
	server, client := direct(t) // it measures memory, and runs alone
	bin := plainBuild(t)
	state := t.TempDir()
	srv := bin.start(t, server, "serve", "--plain", "--token", token, "--state", state)
	srv.WaitFor("listening on ", soon)
	cl := bin.connect(t, client, directURL)
	startStream(t, client, server, "10.1.1.1", "-b", "20M")
	programs := map[string]*lab.Proc{"the hub": srv, "the client": cl}
	const packets = 200_000
	randomFlows(t, client, "10.1.1.3", "10.1.1.1", packets)
	before := map[string]int{}
	for what, p := range programs {
		before[what] = peakOf(t, p)
		forgetPeak(t, p)
	}
	tops := map[string]*lab.Proc{}
	for i := range 4 { // with that below as many as may measure each program at once
		tops[fmt.Sprint("client", i)] = bin.start(t, client, "top", "--json", "--interval", "5s")
		if i > 0 {
			tops[fmt.Sprint("hub", i)] = bin.start(t, server, "top", "--json", "--interval", "5s",
				"--state", state)
		}
	}
	begin, already := time.Now(), bytesReceived(t, server)
	measured := bin.start(t, server, "top", "--json", "--interval", "5s", "--state", state)
	var flood sync.WaitGroup
	flood.Go(func() { randomFlows(t, client, "10.1.1.3", "10.1.1.1", 5*packets) })
	defer flood.Wait()
	if code := measured.Wait(soon); code != 0 {
		t.Fatalf("exit code %d\n%s", code, measured.Stderr())
	}
	want := 8 * float64(bytesReceived(t, server)-already) / time.Since(begin).Seconds() / 1e6
	flood.Wait()
	for what, top := range tops {
		if code := top.Wait(soon); code != 0 {
			t.Errorf("%s: exit code %d\n%s", what, code, top.Stderr())
		}
	}
	var r status.FlowsReport
	if err := json.Unmarshal([]byte(measured.Stdout()), &r); err != nil || r.Hub == nil {
		t.Fatalf("%v\n%s", err, measured.Stdout())
	}
	steady := flowOf(*r.Hub, "in", "tcp", "10.1.1.3", "10.1.1.1")
	rate := megabits(*r.Hub, steady.Crossed)
	t.Logf("%d flows are shown of %d packets, one with %.1f Mbit/s of %.1f", len(r.Hub.Flows),
		r.Hub.Total.Packets, rate, want)
	if len(r.Hub.Flows) > 1024 || r.Hub.Others.Packets < packets/2 {
		t.Errorf("%d flows are shown, and %+v others", len(r.Hub.Flows), r.Hub.Others)
	}
	if rate < want*0.85 || rate > want*1.25 { // with headers, and for a little less time
		t.Errorf("the steady flow is shown with %.1f Mbit/s of %.1f", rate, want)
	}
	for what, p := range programs {
		after := peakOf(t, p)
		t.Logf("%s: at most %d KiB, then %d", what, before[what]>>10, after>>10)
		if after > before[what]+6<<20 {
			t.Errorf("%s has grown from %d to %d KiB", what, before[what]>>10, after>>10)
		}
	}
}

// TestTopTerminal refreshes in place on a terminal, cut to its size, and leaves nothing to restore
// when it is interrupted or killed.
func TestTopTerminal(t *testing.T) {
	t.Parallel()
	server, client := direct(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	bin.connect(t, client, directURL)
	startStream(t, client, server, "10.1.1.1", "-b", "1M")
	const columns, lines = 60, 7
	for _, c := range []struct {
		what    string
		env     string
		colored bool
		end     func(p *lab.Proc, ptmx *os.File)
		code    int
	}{
		{"Ctrl-C", "", true, func(_ *lab.Proc, ptmx *os.File) { _, _ = ptmx.WriteString("\x03") }, 0},
		{"SIGTERM", "NO_COLOR=1", false, func(p *lab.Proc, _ *os.File) { p.Signal(syscall.SIGTERM) }, 0},
		{"SIGKILL", "", true, func(p *lab.Proc, _ *os.File) { p.Kill() }, -1},
	} {
		t.Run(c.what, func(t *testing.T) {
			ptmx, terminal := openTerminal(t)
			size := unix.Winsize{Row: lines, Col: columns}
			if err := unix.IoctlSetWinsize(int(ptmx.Fd()), unix.TIOCSWINSZ, &size); err != nil {
				t.Fatal(err)
			}
			modes, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			// lab keeps stdout in a buffer, so a shell gives the terminal instead.
			cmd := client.Command("sh", "-c", `exec "$0" top --dev tun0 --interval 200ms <`+
				terminal.Name()+" >"+terminal.Name(), string(bin))
			cmd.Stdin = terminal
			if c.env != "" {
				cmd.Env = append(os.Environ(), c.env)
			}
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			top := client.StartCommand(cmd)
			var shown shown
			go func() { _, _ = io.Copy(&shown, ptmx) }()
			eventually(t, "four frames", func() bool {
				return strings.Count(shown.String(), "client tun0: ") >= 4
			})
			c.end(top, ptmx)
			if c.code == 0 {
				if code := top.Wait(soon); code != 0 {
					t.Errorf("exit code %d\n%s", code, top.Stderr())
				}
			}
			now, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
			if err != nil || *now != *modes {
				t.Errorf("the terminal's modes were %+v, and are %+v, %v", modes, now, err)
			}
			checkFrames(t, shown.String(), columns, lines, c.colored)
		})
	}
}

// checkFrames fails the test if a frame is larger than the terminal, or has a control sequence that
// outlives it: all that are allowed move the cursor, clear, or color a line up to its end.
func checkFrames(t *testing.T, text string, columns, lines int, colored bool) {
	t.Helper()
	for _, frame := range strings.Split(text, "\x1b[H")[1:] {
		shown := strings.Split(strings.TrimSuffix(frame, "\x1b[J"), "\n")
		if len(shown) > lines {
			t.Errorf("a frame has %d lines of %d: %q", len(shown), lines, frame)
		}
		for _, line := range shown {
			open := false
			rest := strings.NewReplacer("\x1b[K", "", "\x1b[J", "", "\r", "").Replace(line)
			for _, code := range []string{"\x1b[31m", "\x1b[32m", "\x1b[33m"} {
				if after, ok := strings.CutPrefix(rest, code); ok {
					rest, open = after, true
				}
			}
			if open {
				after, closed := strings.CutSuffix(rest, "\x1b[0m")
				if !closed || !colored {
					t.Errorf("a color goes on, or is not wanted: %q", line)
				}
				rest = after
			}
			rest = strings.TrimSuffix(rest, "^C")
			if strings.Contains(rest, "\x1b") || len([]rune(rest)) > columns {
				t.Errorf("a line of %d columns, or with more sequences: %q", len([]rune(rest)), line)
			}
		}
	}
	if colored != strings.Contains(text, "\x1b[32m") {
		t.Errorf("colored: want %v\n%q", colored, text)
	}
}
