package e2e

import (
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"tunnel/e2e/lab"
)

// TestTopBusy has one too many measure a client, which is told so, and ends the others by each
// signal before they have measured: each says that it was interrupted, if it can, and their places
// are free at once.
func TestTopBusy(t *testing.T) {
	t.Parallel()
	const most, long = 4, 5 * time.Second
	server, client := direct(t)
	bin := plainBuild(t)
	bin.serve(t, server, "--plain")
	bin.connect(t, client, directURL)
	measure := func(n int, interval string) (tops []*lab.Proc) {
		for range n {
			tops = append(tops, bin.start(t, client, "top", "--json", "--dev", "tun0", "--interval",
				interval))
		}
		return tops
	}
	for range 5 {
		begin := time.Now()
		tops := measure(most+1, "5s")
		var refused *lab.Proc
		eventually(t, "one too many is refused, so that all others measure", func() bool {
			i := slices.IndexFunc(tops, (*lab.Proc).Exited)
			if i >= 0 {
				refused = tops[i]
				tops = slices.Delete(tops, i, i+1)
			}
			return i >= 0
		})
		if code := refused.Wait(soon); code != 18 || refused.Stdout() != "" || refused.Stderr() !=
			"tunnel: status: 4 measurements of flows run, and no more may at once: end another "+
				"`tunnel top`, or try again when one has ended\n" {
			t.Errorf("one too many: exit code %d\n%s%s", code, refused.Stdout(), refused.Stderr())
		}
		for i, top := range tops {
			signal := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL}[i%3]
			top.Signal(signal)
			code := top.Wait(soon)
			if top.Stdout() != "" {
				t.Errorf("%v: printed %s", signal, top.Stdout())
			}
			if signal != syscall.SIGKILL && (code != 18 ||
				top.Stderr() != "tunnel: status: interrupted: nothing was measured\n") {
				t.Errorf("%v: exit code %d\n%s", signal, code, top.Stderr())
			}
		}
		eventually(t, "four measure again", func() bool {
			all := true
			for _, top := range measure(most, "100ms") {
				all = top.Wait(soon) == 0 && all
			}
			return all
		})
		if took := time.Since(begin); took < long { // the first four would still measure
			return
		}
	}
	t.Error("the places of those that have ended are not free before their time is over")
}

// peakOf returns the most memory that the worker of a program has had since forgetPeak.
func peakOf(t *testing.T, p *lab.Proc) (bytes int) {
	t.Helper()
	return memoryOf(t, p, "VmHWM")
}

// forgetPeak has peakOf begin anew (proc(5), clear_refs).
func forgetPeak(t *testing.T, p *lab.Proc) {
	t.Helper()
	name := fmt.Sprintf("/proc/%d/clear_refs", p.Worker())
	if err := os.WriteFile(name, []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}
