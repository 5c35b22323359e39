package e2e

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"tunnel/bench/load"
	"tunnel/e2e/lab"
)

// crowdWord as its first argument makes the test binary run many clients of one server, without
// devices: hundreds of real clients are too much for a small machine.
const crowdWord = "crowd"

// beCrowd runs the program that startCrowd starts.
func beCrowd(args []string) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := load.Main(ctx, args, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// startCrowd starts n idle clients on a host, ten per address, and waits until all are connected.
// The host gets the addresses by network, a format such as "198.51.100.1%02d"; n is less than 1000.
func startCrowd(t *testing.T, h *lab.Host, network, url string, n int) *lab.Proc {
	t.Helper()
	var from []string
	for i := range (n + 9) / 10 {
		addr := fmt.Sprintf(network, i)
		if _, stderr, code := h.Try("ip", "addr", "add", addr+"/24", "dev", "eth0"); code != 0 &&
			!strings.Contains(stderr, "already assigned") {
			t.Fatalf("ip addr add %s: %s", addr, stderr)
		}
		from = append(from, addr)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	crowd := watch(t, h.Start(exe, crowdWord, "-url", url, "-token", token, "-clients",
		strconv.Itoa(n), "-from", strings.Join(from, ",")))
	crowd.WaitFor(load.AllUp+" 1: ", 2*soon)
	return crowd
}
