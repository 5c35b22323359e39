package tcp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the decisions that the rules lead to")

// TestDecisions replays what the kernel showed of real connections: the rules lead to the decisions
// that are recorded beside each trace. A rule that changes shows as a difference of decisions;
// -update accepts it. e2e.TestRecordTraces records the traces, with ss(8), on lines that e2e/wan
// makes:
//
//	lan         a veth pair
//	10mbit      10 Mbit/s, 40 ms there and back
//	100mbit     100 Mbit/s, 40 ms, no loss
//	100mbit-1%  the same with 1 % loss
//	rest        the same link: 5 s up, 5 s down, 5 s up, a second in between
//	reverse     100 Mbit/s, 40 ms, down: this side sends acknowledgments
func TestDecisions(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(files) != 6 {
		t.Fatalf("%d traces, %v; want 6", len(files), err)
	}
	for _, file := range files {
		got := replay(t, file)
		golden := file[:len(file)-len(".jsonl")] + ".decisions"
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil { //nolint:gosec // it is no secret
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(got, want) {
			continue
		}
		gotLines, wantLines := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
		for i := range min(len(gotLines), len(wantLines)) {
			if !bytes.Equal(gotLines[i], wantLines[i]) {
				t.Errorf("%s:%d:\n%s\nwant\n%s", golden, i+1, gotLines[i], wantLines[i])
				break
			}
		}
		t.Errorf("%s: %d lines; want %d", golden, len(gotLines), len(wantLines))
	}
}

// TestRestartAfterRest replays a trace that was made by hand after the trace rest, because no
// recorded trace has a restart. The socket sends 94 Mbit/s, is idle while a few of its
// acknowledgments are lost, and then has bytes to send while BBR knows of 3 Mbit/s. The rules must
// restart BBR once, and not in STARTUP.
func TestRestartAfterRest(t *testing.T) {
	t.Parallel()
	const want = 6031 * time.Millisecond // the first sample with a backlog after the idle period
	restarts := 0
	m, busy := start(), uint64(0)
	for _, s := range samples(t, "testdata/restart/idle.jsonl") {
		var now Settings
		if m, now = decide(m, s); !now.Restart {
			busy = max(busy, s.Bandwidth)
			continue
		}
		restarts++
		if s.At != want || s.Gain > startupGain || s.NotSent < backlog ||
			float64(s.Bandwidth) >= forgotten*float64(busy) {
			t.Errorf("restart at %v, gain %d, %d bytes unsent, %d bytes/s after %d; want it at %v",
				s.At, s.Gain, s.NotSent, s.Bandwidth, busy, want)
		}
		if now.Pace != 0 || m.startup.over {
			t.Errorf("after the restart the pace is %d and STARTUP is over: %v; want 0, false",
				now.Pace, m.startup.over)
		}
	}
	if restarts != 1 {
		t.Errorf("%d restarts; want 1", restarts)
	}
}

// samples returns the samples of a trace.
func samples(t *testing.T, file string) (all []Sample) {
	t.Helper()
	trace, err := os.Open(file) //nolint:gosec // it is ours
	if err != nil {
		t.Fatal(err)
	}
	defer trace.Close()
	lines := bufio.NewScanner(trace)
	for lines.Scan() {
		var s Sample
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// replay returns the decisions on a trace, a line for each that differs from the one before.
func replay(t *testing.T, file string) []byte {
	t.Helper()
	var out bytes.Buffer
	m, last := start(), Settings{}
	for _, s := range samples(t, file) {
		var now Settings
		if m, now = decide(m, s); now == last {
			continue
		}
		last = now
		text, err := json.Marshal(now)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(s.At.String() + " " + string(text) + "\n")
	}
	return out.Bytes()
}
