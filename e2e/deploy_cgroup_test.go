package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// cgroup makes a memory cgroup with a limit in bytes, and returns its directory. It is removed at
// the end of the test, when the programs in it have ended.
func cgroup(t *testing.T, limit int) (dir string) {
	t.Helper()
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	parent, file := "/sys/fs/cgroup", "memory.max"
	for line := range strings.Lines(string(own)) {
		// cgroup version 1
		if fields := strings.SplitN(strings.TrimSpace(line), ":", 3); len(fields) == 3 &&
			fields[1] == "memory" {
			parent, file = filepath.Join("/sys/fs/cgroup/memory", fields[2]),
				"memory.limit_in_bytes"
		}
	}
	if _, err := os.Stat(parent); err != nil { // a container's own cgroup is mounted as the root
		parent = "/sys/fs/cgroup/memory"
	}
	dir, err = os.MkdirTemp(parent, "tunnel-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil { // the kernel removes the files with it
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(limit)), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A server with default flags in a cgroup of 64 MiB chooses its smallest memory limit. Neither many
// sessions that do not read nor what they leave behind exceed the cgroup's limit.
func TestMemoryCgroup(t *testing.T) {
	server, clients := star(t, 4)
	bin := plainBuild(t)
	// The host's own sysfs has no cgroups mounted.
	const enter = `mount -t tmpfs cgroups /sys/fs/cgroup && case $1 in
		/sys/fs/cgroup/memory/*) mkdir /sys/fs/cgroup/memory &&
			mount -t cgroup -o memory memory /sys/fs/cgroup/memory ;;
		*) mount -t cgroup2 cgroups /sys/fs/cgroup ;;
		esac && echo $$ > "$1/cgroup.procs" && shift && exec "$@"`
	srv := bin.startWrapped(t, server, []string{"unshare", "-m", "sh", "-c", enter, "sh",
		cgroup(t, 64<<20)},
		"serve", "--plain", "--network", "10.1.0.0/20", "--max-sessions", "0")
	srv.WaitFor("listening on ", soon)
	good := bin.connect(t, clients[0], directURL)
	x := startExchange(t, clients[0], server, "10.1.0.1")
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	peak := peakMemory(t, srv)
	<-startLoad(ctx, t, clients[1:], []string{token}, memoryLoads()[0])
	x.flows(soon)
	t.Logf("the server took %d MiB at most", peak()>>20)
	leave()
	x.finish()
	if n := len(stdoutLines(good, "down: ")); n > 0 {
		t.Errorf("the good client lost its connection:\n%s", good.Stderr())
	}
	stop(t, srv)
	if log := srv.Stderr(); !strings.Contains(log, "limit_mib=32 ") {
		t.Errorf("the log says nothing of a limit of 32 MiB:\n%s", log[max(0, len(log)-2000):])
	}
}
