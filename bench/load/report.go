package load

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// AllUp begins the line that all clients are connected for the nth time; " n:" follows.
const AllUp = "all up"

// report counts clients and prints lines such as "998 of 1000 up, 0 moved, after 3s".
type report struct {
	n     int
	begin time.Time

	mu    sync.Mutex // guards the rest
	out   io.Writer
	up    int
	moved int   // came back with another address
	times []int // times[i] is how many clients have been connected more than i times
	last  string
}

func newReport(out io.Writer, n int) *report { return &report{n: n, begin: time.Now(), out: out} }

// connected records that a client is connected for the nth time, counted from 1.
func (r *report) connected(nth int, moved bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up++
	if moved {
		r.moved++
	}
	for len(r.times) < nth {
		r.times = append(r.times, 0)
	}
	r.times[nth-1]++
	if r.times[nth-1] == r.n {
		r.print(fmt.Sprintf("%s %d: ", AllUp, nth))
	}
}

// lost records that a client is not connected any more.
func (r *report) lost() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up--
}

// run prints a line each reportInterval if something has changed, until ctx ends.
func (r *report) run(ctx context.Context) {
	ticker := time.NewTicker(reportInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.mu.Lock()
			if r.state() != r.last {
				r.print("")
			}
			r.mu.Unlock()
		}
	}
}

// state returns the text of a line. The caller holds mu.
func (r *report) state() string { return fmt.Sprintf("%d of %d up, %d moved", r.up, r.n, r.moved) }

// print prints a line. The caller holds mu.
func (r *report) print(prefix string) {
	r.last = r.state()
	_, _ = fmt.Fprintf(r.out, "%s%s, after %v\n", prefix, r.last,
		time.Since(r.begin).Round(time.Millisecond))
}

// LastUp returns how many clients are connected according to the last line of output.
func LastUp(output string) int { return last(output, `(\d+) of \d+ up`) }

// LastMoved returns how many came back with another address according to the last line of output.
func LastMoved(output string) int { return last(output, `up, (\d+) moved`) }

func last(output, pattern string) int {
	all := regexp.MustCompile(pattern).FindAllStringSubmatch(output, -1)
	if all == nil {
		return 0
	}
	n, err := strconv.Atoi(all[len(all)-1][1])
	if err != nil {
		return 0
	}
	return n
}
