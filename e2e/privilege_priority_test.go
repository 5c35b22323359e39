package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tunnel/e2e/lab"
)

// niced wraps a command so that it starts with a nice value, whatever the tests' own is.
func niced(nice int) []string {
	return []string{"sh", "-c", `renice -n "$0" -p $$ >/dev/null && exec "$@"`, strconv.Itoa(nice)}
}

// niceValues returns the nice values of a process's threads, each once.
func niceValues(t *testing.T, pid int) []int {
	t.Helper()
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(stats) == 0 {
		t.Fatalf("threads of %d: %d (%v)", pid, len(stats), err)
	}
	var values []int
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // the thread has ended
		}
		// proc_pid_stat(5): the name is in parentheses; the nice value is field 19.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		value, err := strconv.Atoi(fields[19-3])
		if err != nil {
			t.Fatalf("%s: %v: %s", stat, err, text)
		}
		values = append(values, value)
	}
	slices.Sort(values)
	return slices.Compact(values)
}

// The program's threads and those of a hook have the documented nice values.
func TestPriority(t *testing.T) {
	t.Parallel()
	bin := plainBuild(t)
	for name, test := range map[string]struct {
		wrap []string
		want int
	}{
		"as root":              {niced(0), -5},
		"started with another": {niced(3), 3},
		"started with less":    {niced(-9), -9},
		"without CAP_SYS_NICE": {append(niced(0), without("sys_nice")...), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client := direct(t)
			srv := bin.startWrapped(t, server, test.wrap, "serve", "--plain")
			srv.WaitFor("listening on ", soon)
			hook := filepath.Join(t.TempDir(), "hook")
			cl := bin.startWrapped(t, client, test.wrap, "connect", directURL, "--on-up",
				`echo $$ >"`+hook+`.new" && mv "`+hook+`.new" "`+hook+`"; sleep 1000 & wait`)
			cl.WaitFor("up: ", soon)
			reaches(t, client, "10.1.1.1") // so that there are threads that were started later
			for what, proc := range map[string]*lab.Proc{"serve": srv, "connect": cl} {
				if got := niceValues(t, proc.Worker()); !slices.Equal(got, []int{test.want}) {
					t.Errorf("threads of %s have the nice values %d; want %d", what, got, test.want)
				}
				// The scheduler weighs sessions against each other, and the worker is alone in its
				// session.
				group, err := os.ReadFile(fmt.Sprintf("/proc/%d/autogroup", proc.Worker()))
				if err == nil && !strings.HasSuffix(strings.TrimSpace(string(group)),
					fmt.Sprintf(" nice %d", test.want)) {
					t.Errorf("%s: the session's group is %q; want nice %d", what, group, test.want)
				}
			}
			var pid int
			eventually(t, "the hook runs", func() bool {
				text, _ := os.ReadFile(hook)
				pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
				return pid != 0
			})
			want := max(test.want, 0)
			eventually(t, fmt.Sprintf("the hook has a nice value of %d", want), func() bool {
				return slices.Equal(niceValues(t, pid), []int{want})
			})
		})
	}
}
